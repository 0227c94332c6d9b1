//! Images of bytes with labels, normalised as they are read.

use std::{path::Path, sync::Arc};

use super::{Dataset, Elements, Idx, dataset::inside};
use crate::{
    error::{Error, Result},
    tensor::Tensor,
};

/// `x = (pixel/255 − μ_c)/σ_c`, `F32` `[B, C, H, W]`, and labels, `I64` `[B]`.
///
/// The bytes stay bytes in memory; a batch is converted when it is asked for, in torchvision's order of rounding
/// (`ToTensor`, then `Normalize`). Labels are checked once, here.
///
/// ```
/// use cotangent::data::{Dataset, Images};
/// let images = Images::new(vec![0, 255, 51, 204], [1, 1, 2], [0u8, 1], 2)?.normalize(&[0.5], &[0.5])?;
/// let batch = images.get(&[1])?;
/// assert_eq!(batch[0].shape()[..], [1, 1, 1, 2]);
/// assert!((batch[0].to_vec::<f32>()[0] + 0.6).abs() < 1e-6);
/// assert_eq!(batch[1].to_vec::<i64>(), [1]);
/// # Ok::<(), cotangent::Error>(())
/// ```
#[derive(Clone)]
pub struct Images {
    pixels: Arc<Vec<u8>>,
    shape: [usize; 3],
    labels: Arc<Vec<i64>>,
    classes: usize,
    /// What each byte becomes, channel by channel.
    values: Arc<Vec<[f32; 256]>>,
}

impl Images {
    /// From pixels `[N, C, H, W]`, row-major, the shape `[C, H, W]` of one image, and N labels in `0..classes`.
    ///
    /// # Errors
    /// When the numbers do not fit, or a label is outside its classes.
    pub fn new(
        pixels: impl Into<Arc<Vec<u8>>>,
        shape: [usize; 3],
        labels: impl IntoIterator<Item = impl Into<i64>>,
        classes: usize,
    ) -> Result<Self> {
        let (pixels, labels): (Arc<Vec<u8>>, Vec<i64>) =
            (pixels.into(), labels.into_iter().map(Into::into).collect());
        let (n, [c, h, w]) = (labels.len(), shape);
        let size = shape.iter().try_fold(n, |a, b| a.checked_mul(*b));
        if size != Some(pixels.len()) {
            return Err(Error::other(format!(
                "{} pixels are not {n} images of {c}×{h}×{w}, one for each label",
                pixels.len()
            ))
            .help("there must be as many labels as images, and the shape is [channels, height, width]"));
        }
        check_labels(&labels, classes)?;
        let values = Arc::new(vec![table(0.0, 1.0); c]);
        Ok(Images { pixels, shape, labels: Arc::new(labels), classes, values })
    }

    /// From a pair of IDX files: bytes `[N, H, W]` or `[N, C, H, W]`, and whole numbers `[N]`.
    ///
    /// # Errors
    /// When a file cannot be read, they do not belong together, or a label is outside its classes; with file and byte.
    pub fn from_idx(images: impl AsRef<Path>, labels: impl AsRef<Path>, classes: usize) -> Result<Self> {
        let (image_path, label_path) = (images.as_ref(), labels.as_ref());
        let (images, labels) = (Idx::read(image_path)?, Idx::read(label_path)?);
        let swapped = "the first file holds images, such as train-images-idx3-ubyte, the second labels, such as train-labels-idx1-ubyte";
        let shape = match *images.shape() {
            [_, h, w] => [1, h, w],
            [_, c, h, w] => [c, h, w],
            ref other => {
                let text = format!(
                    "holds an array of shape {other:?}, and images have shape [N, H, W] or [N, C, H, W]"
                );
                return Err(Error::data(image_path, Some(3), text).help(swapped));
            }
        };
        let [n] = *labels.shape() else {
            let text = format!("holds an array of shape {:?}, and labels have shape [N]", labels.shape());
            return Err(Error::data(label_path, Some(3), text).help(swapped));
        };
        if n != images.shape()[0] {
            let text =
                format!("holds {n} labels, and {} holds {} images", image_path.display(), images.shape()[0]);
            return Err(Error::data(label_path, Some(4), text)
                .help("take both files from the same set, training or test"));
        }
        let size = labels.element_size();
        let Elements::U8(pixels) = images.into_elements() else {
            return Err(Error::data(
                image_path,
                Some(2),
                "holds numbers that are not bytes, and pixels are uint8",
            )
            .help(swapped));
        };
        let labels: Vec<i64> = match labels.into_elements() {
            Elements::U8(v) => v.into_iter().map(i64::from).collect(),
            Elements::I32(v) => v.into_iter().map(i64::from).collect(),
            Elements::F32(_) | Elements::F64(_) => {
                return Err(Error::data(label_path, Some(2), "holds real numbers, and labels are whole")
                    .help(swapped));
            }
        };
        if let Some((position, message, help)) = bad_label(&labels, classes) {
            return Err(Error::data(label_path, Some(8 + (position * size) as u64), message).help(help));
        }
        Images::new(pixels, shape, labels, classes)
    }

    /// Subtract `μ` and divide by `σ`, one of each for every channel.
    ///
    /// # Errors
    /// When there are not as many as channels, one is not finite, or a σ is 0.
    pub fn normalize(mut self, mean: &[f64], std: &[f64]) -> Result<Self> {
        let c = self.shape[0];
        if mean.len() != c || std.len() != c {
            return Err(Error::other(format!(
                "normalize: {} means and {} deviations for {c} channels",
                mean.len(),
                std.len()
            )));
        }
        if let Some(i) = (0..c).find(|i| !mean[*i].is_finite() || !std[*i].is_finite() || std[*i] == 0.0) {
            let text = format!("normalize: mean {} and deviation {} of channel {i}", mean[i], std[i]);
            return Err(Error::other(text).help("both must be finite numbers, and a deviation not 0"));
        }
        self.values = Arc::new(mean.iter().zip(std).map(|(m, s)| table(*m, *s)).collect());
        Ok(self)
    }

    /// The pixels, `[N, C, H, W]`.
    pub fn pixels(&self) -> &[u8] {
        &self.pixels
    }

    /// The labels, `[N]`.
    pub fn labels(&self) -> &[i64] {
        &self.labels
    }

    /// `[C, H, W]`
    pub fn shape(&self) -> [usize; 3] {
        self.shape
    }

    /// How many classes there are.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// What a black pixel becomes in each channel: what comes in from outside when an image is shifted.
    pub fn background(&self) -> Vec<f32> {
        self.values.iter().map(|v| v[0]).collect()
    }
}

fn table(mean: f64, std: f64) -> [f32; 256] {
    let (mean, std) = (mean as f32, std as f32);
    std::array::from_fn(|i| (i as f32 / 255.0 - mean) / std)
}

impl Dataset for Images {
    fn len(&self) -> Option<usize> {
        Some(self.labels.len())
    }
    fn get(&self, indices: &[usize]) -> Result<Vec<Tensor>> {
        inside(indices, self.labels.len())?;
        let [c, h, w] = self.shape;
        let plane = h * w;
        // Memory without room is an error here, and not a panic of the loader's thread.
        let fill = |x: &mut [f32]| {
            let planes = indices.iter().flat_map(|i| (0..c).map(move |ch| (i * c + ch, ch)));
            for ((from, ch), into) in planes.zip(x.chunks_exact_mut(plane.max(1))) {
                let (pixels, values) = (&self.pixels[from * plane..][..plane], &self.values[ch]);
                into.iter_mut().zip(pixels).for_each(|(x, p)| *x = values[usize::from(*p)]);
            }
        };
        let x = crate::attempt(|| Tensor::filled([indices.len(), c, h, w], fill))?;
        let y: Vec<i64> = indices.iter().map(|i| self.labels[*i]).collect();
        Ok(vec![x, Tensor::from(y)])
    }
}

/// Are all labels in `0..classes`?
///
/// ```
/// use cotangent::data::check_labels;
/// let e = check_labels(&[1, 2, 3], 3).unwrap_err().to_string();
/// assert!(e.contains("label 3 at position 2") && e.contains("subtract 1"), "{e}");
/// ```
///
/// # Errors
/// The first one that is not: its position, its value, the classes; and a guess when they run from 1.
pub fn check_labels(labels: &[i64], classes: usize) -> Result<()> {
    match bad_label(labels, classes) {
        None => Ok(()),
        Some((_, message, help)) => Err(Error::other(message).help(help)),
    }
}

fn bad_label(labels: &[i64], classes: usize) -> Option<(usize, String, String)> {
    let c = classes as i64;
    let position = labels.iter().position(|l| !(0..c).contains(l))?;
    let message = match classes {
        0 => format!("label {} at position {position}, and there are 0 classes", labels[position]),
        _ => format!(
            "label {} at position {position} is outside 0..={} ({classes} classes)",
            labels[position],
            c - 1
        ),
    };
    let (least, most) = (labels.iter().min()?, labels.iter().max()?);
    let help = match (*least, *most) {
        (1.., m) if m == c => format!("labels seem to run from 1 to {classes}: subtract 1"),
        (0.., m) => format!("the largest label is {m}: should there be {} classes?", m as i128 + 1),
        (l, _) => format!("the smallest label is {l}, and labels count from 0"),
    };
    Some((position, message, help))
}
