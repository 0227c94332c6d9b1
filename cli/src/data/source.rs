//! Examples in memory, made into batches: levels of pictures, or numbers.

use std::sync::Arc;

use cotangent::Tensor;
use cotangent::data::{Dataset, Images};
use cotangent_data::{Set, Values};

use crate::checkpoint::Normalisation;
use crate::diagnostic::{Diagnostic, Exit};

/// Labelled examples, normalised as they are read.
#[derive(Clone)]
pub(crate) enum Source {
    /// Pictures of bytes.
    Levels(Images),
    /// Everything else.
    Numbers(Numbers),
}

/// `x = (number · scale − mean)/std` along axis 0 of an example; a number that is missing becomes the mean.
#[derive(Clone)]
pub(crate) struct Numbers {
    values: Arc<Vec<f32>>,
    shape: Vec<usize>,
    labels: Arc<Vec<i64>>,
    normalisation: Arc<Normalisation>,
}

impl Source {
    /// The examples of a set; those without labels get 0.
    pub(crate) fn new(set: Set, normalisation: &Normalisation) -> Result<Self, Diagnostic> {
        let n = set.len();
        let Set { inputs, shape, mut labels, classes, .. } = set;
        labels.resize(n, 0);
        let bad = |e: cotangent::Error| Diagnostic::from(e).exiting(Exit::Data);
        match (inputs, <[usize; 3]>::try_from(&shape[..])) {
            (Values::U8(pixels), Ok(shape)) => {
                let images = Images::new(pixels, shape, labels, classes.len().max(1)).map_err(bad)?;
                images.normalize(&normalisation.mean, &normalisation.std).map_err(bad).map(Source::Levels)
            }
            (inputs, _) => {
                let values = match inputs {
                    Values::U8(v) => v.into_iter().map(f32::from).collect(),
                    Values::F32(v) => v,
                };
                let (rows, known) = (shape.first().copied().unwrap_or_default(), normalisation.mean.len());
                if rows != known || known != normalisation.std.len() {
                    let title =
                        format!("examples have {rows} channels or features, and {known} means are known");
                    return Err(Diagnostic::new(Exit::Data, title));
                }
                let (values, labels) = (Arc::new(values), Arc::new(labels));
                Ok(Source::Numbers(Numbers {
                    values,
                    shape,
                    labels,
                    normalisation: Arc::new(normalisation.clone()),
                }))
            }
        }
    }

    /// What comes in from outside when a picture is moved.
    pub(crate) fn background(&self) -> Vec<f32> {
        match self {
            Source::Levels(images) => images.background(),
            Source::Numbers(numbers) => {
                let Normalisation { mean, std, .. } = &*numbers.normalisation;
                mean.iter().zip(std).map(|(mean, std)| (-mean / std) as f32).collect()
            }
        }
    }
}

impl Dataset for Source {
    fn len(&self) -> Option<usize> {
        match self {
            Source::Levels(images) => images.len(),
            Source::Numbers(numbers) => Some(numbers.labels.len()),
        }
    }

    fn get(&self, indices: &[usize]) -> cotangent::Result<Vec<Tensor>> {
        match self {
            Source::Levels(images) => images.get(indices),
            Source::Numbers(numbers) => numbers.get(indices),
        }
    }
}

impl Numbers {
    fn get(&self, indices: &[usize]) -> cotangent::Result<Vec<Tensor>> {
        let size: usize = self.shape.iter().product();
        let plane = size / self.shape[0].max(1);
        let Normalisation { scale, mean, std } = &*self.normalisation;
        if let Some(i) = indices.iter().find(|i| **i >= self.labels.len()) {
            let text = format!("example {i} was asked for, and there are {}", self.labels.len());
            return Err(cotangent::Error::other(text));
        }
        let mut x = Vec::with_capacity(indices.len() * size);
        for i in indices {
            let rows = self.values[i * size..][..size].chunks_exact(plane.max(1));
            for (row, (mean, std)) in rows.zip(mean.iter().zip(std)) {
                x.extend(row.iter().map(|v| match v.is_nan() {
                    true => 0.0,
                    false => ((f64::from(*v) * scale - mean) / std) as f32,
                }));
            }
        }
        let y: Vec<i64> = indices.iter().map(|i| self.labels[*i]).collect();
        let shape: Vec<usize> = [indices.len()].into_iter().chain(self.shape.iter().copied()).collect();
        Ok(vec![Tensor::from_vec(x, &shape[..]), Tensor::from(y)])
    }
}

/// Mean and deviation of some examples, by channel or feature; missing numbers do not count.
pub(crate) fn measured(set: &Set, of: &[usize]) -> Normalisation {
    let size: usize = set.shape.iter().product();
    let rows = set.shape.first().copied().unwrap_or_default();
    let plane = size / rows.max(1);
    let mut found = Normalisation { scale: set.scale, mean: Vec::new(), std: Vec::new() };
    for row in 0..rows {
        let places = of.iter().map(|i| i * size + row * plane..i * size + (row + 1) * plane);
        let (mean, std) = match &set.inputs {
            // Whole numbers, so that no order of adding matters.
            Values::U8(v) => {
                let (mut sum, mut squares) = (0_u64, 0_u64);
                for x in places.flat_map(|range| &v[range]) {
                    sum += u64::from(*x);
                    squares += u64::from(*x) * u64::from(*x);
                }
                let n = (of.len() * plane) as f64;
                let mean = sum as f64 / n;
                (mean, (squares as f64 / n - mean * mean).max(0.0).sqrt())
            }
            Values::F32(v) => {
                let numbers = || {
                    places.clone().flat_map(|range| &v[range]).filter(|x| !x.is_nan()).map(|x| f64::from(*x))
                };
                let (sum, n) = numbers().fold((0.0, 0_u64), |(sum, n), x| (sum + x, n + 1));
                let mean = sum / n.max(1) as f64;
                let squares: f64 = numbers().map(|x| (x - mean) * (x - mean)).sum();
                (mean, (squares / n.max(1) as f64).sqrt())
            }
        };
        // Pixels are divided, as it has always been done: 1/255 is no number of a computer.
        let unit = |x: f64| if matches!(set.inputs, Values::U8(_)) { x / 255.0 } else { x * set.scale };
        found.mean.push(unit(mean));
        found.std.push(if std > 0.0 { unit(std) } else { 1.0 });
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use cotangent_data::Origins;

    #[test]
    fn what_is_missing_becomes_the_mean_of_the_others() {
        let set = Set {
            inputs: Values::F32(vec![1.0, 10.0, f32::NAN, 30.0, 5.0, 20.0]),
            shape: vec![2],
            labels: vec![0, 1, 0],
            classes: vec!["a".into(), "b".into()],
            features: Vec::new(),
            groups: None,
            origins: Origins::Rows,
            remarks: Vec::new(),
            scale: 1.0,
        };
        // Of the first two examples alone.
        let n = measured(&set, &[0, 1]);
        assert_eq!((n.mean.clone(), n.std.clone()), (vec![1.0, 20.0], vec![1.0, 10.0]));
        let x = Source::new(set, &n).unwrap().get(&[0, 1, 2]).unwrap();
        assert_eq!(x[0].to_vec::<f32>(), [0.0, -1.0, 0.0, 1.0, 4.0, 0.0]);
        assert_eq!(x[1].to_vec::<i64>(), [0, 1, 0]);
    }
}
