//! What another library needs to do the same work on the same numbers, and what it must find.
//!
//! Each training or inference row gets a folder of its name with
//!
//! - `weights.safetensors`: the first parameters and state, under PyTorch's names;
//! - `batches.safetensors`: `x` `[20, batch, channels, height, width]` and `y` `[20, batch]`; for inference `x`
//!   `[batch, 1, 28, 28]` and the `logits` `[batch, 10]` that were found;
//! - `agree.json`: for training the 20 losses, each before its step, with rate and momentum.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use cotangent::nn::ParametersExt;
use cotangent::{DType, Tensor};
use safetensors::tensor::{Dtype, TensorView};
use serde::Serialize;

use crate::networks::{Examples, MOMENTUM, Network, random};
use crate::training::{Training, epoch};
use crate::{Error, Model, Result, Suite, inference};

/// How many losses must agree.
pub const STEPS: usize = 20;

/// What a peer must find.
#[derive(Clone, Copy)]
pub(crate) enum Agreement {
    /// The losses of the first steps.
    Losses { network: &'static Network, batch: usize, rate: f64 },
    /// The results of LeNet-5.
    Logits { batch: usize },
}

#[derive(Serialize)]
struct Losses {
    name: String,
    batch: usize,
    rate: f64,
    momentum: f64,
    losses: Vec<f64>,
}

/// Writes weights, batches and results of the training and inference rows into `folder`; gives the folders that it
/// made.
///
/// # Errors
/// When nothing in the suite trains or infers, a step fails, or a file cannot be written.
pub fn write(suite: &Suite, folder: &Path, threads: usize) -> Result<Vec<PathBuf>> {
    crate::on_threads(threads, || {
        let mut made = Vec::new();
        for row in suite.rows() {
            let Some(agreement) = row.agreement else { continue };
            let path = folder.join(&row.name);
            fs::create_dir_all(&path).map_err(Error::io(format!("cannot make {}", path.display())))?;
            match agreement {
                Agreement::Losses { network, batch, rate } => losses(&row.name, network, batch, rate, &path)?,
                Agreement::Logits { batch } => logits(batch, &path)?,
            }
            made.push(path);
        }
        if made.is_empty() {
            return Err(Error::NothingToAgree);
        }
        Ok(made)
    })
}

fn losses(name: &str, network: &Network, batch: usize, rate: f64, folder: &Path) -> Result<()> {
    let batches: Vec<[Tensor; 2]> = match network.examples {
        Examples::Random => (0..STEPS as u64).map(|i| random(batch, i)).collect(),
        Examples::Mnist => {
            epoch(batch, 0)?.take(STEPS).map(|b| Ok(b?.into_array())).collect::<Result<Vec<_>>>()?
        }
    };
    let mut training = Training::new(network, rate);
    save(&folder.join("weights.safetensors"), weights(&training.model))?;
    let all = |part: usize| {
        let parts: Vec<Tensor> = batches.iter().map(|b| b[part].unsqueeze(0)).collect();
        Tensor::cat(&parts.iter().collect::<Vec<_>>(), 0)
    };
    save(&folder.join("batches.safetensors"), [("x".into(), all(0)), ("y".into(), all(1))].into())?;
    let found = batches.iter().map(|[x, y]| Ok(training.step(x, y)?[0])).collect::<Result<Vec<f64>>>()?;
    let about = Losses { name: name.into(), batch, rate, momentum: MOMENTUM, losses: found };
    let path = folder.join("agree.json");
    let text = serde_json::to_string_pretty(&about).map_err(std::io::Error::other);
    let written = text.and_then(|text| fs::write(&path, text));
    written.map_err(Error::io(format!("cannot write {}", path.display())))
}

fn logits(batch: usize, folder: &Path) -> Result<()> {
    let (model, x) = (inference::network(), inference::images(batch));
    save(&folder.join("weights.safetensors"), weights(&model))?;
    let logits = inference::step(model).run([&x])?;
    save(&folder.join("batches.safetensors"), [("x".into(), x), ("logits".into(), logits)].into())
}

fn weights(model: &Model) -> BTreeMap<String, Tensor> {
    model.state_dict().into_iter().collect()
}

/// Tensors of real or whole numbers, as safetensors.
fn save(path: &Path, tensors: BTreeMap<String, Tensor>) -> Result<()> {
    fn bytes<T, const N: usize>(v: Vec<T>, f: impl Fn(&T) -> [u8; N]) -> Vec<u8> {
        v.iter().flat_map(f).collect()
    }
    let mut stored = Vec::new();
    for (name, t) in &tensors {
        let (dtype, data) = match t.dtype().is_float() {
            true => (Dtype::F32, bytes(t.cast(DType::F32).try_to_vec::<f32>()?, |x| x.to_le_bytes())),
            false => (Dtype::I64, bytes(t.cast(DType::I64).try_to_vec::<i64>()?, |x| x.to_le_bytes())),
        };
        stored.push((name, dtype, t.shape().to_vec(), data));
    }
    let cannot = || format!("cannot write {}", path.display());
    let other = |e: safetensors::SafeTensorError| std::io::Error::other(e);
    let views = stored.iter().map(|(name, dtype, shape, data)| {
        Ok((name.as_str(), TensorView::new(*dtype, shape.clone(), data).map_err(other)?))
    });
    let views: Vec<_> = views.collect::<std::io::Result<_>>().map_err(Error::io(cannot()))?;
    safetensors::serialize_to_file(views, None, path).map_err(other).map_err(Error::io(cannot()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use safetensors::SafeTensors;

    #[test]
    fn a_peer_finds_weights_batches_and_losses() {
        let folder = std::env::temp_dir().join(format!("cotangent-agree-{}", std::process::id()));
        let suite =
            Suite::new(None).filtered(&["train/lenet5/batch-32".into(), "infer/lenet5/batch-1".into()]);
        let made = write(&suite.unwrap(), &folder, 2).unwrap();
        assert!(made.contains(&folder.join("train/lenet5/batch-32")), "{made:?}");

        let read = |name: &str| fs::read(folder.join("train/lenet5/batch-32").join(name)).unwrap();
        let (weights, batches) = (read("weights.safetensors"), read("batches.safetensors"));
        let weights = SafeTensors::deserialize(&weights).unwrap();
        assert_eq!(weights.tensor("conv2.weight").unwrap().shape(), [16, 6, 5, 5]);
        let batches = SafeTensors::deserialize(&batches).unwrap();
        assert_eq!(batches.tensor("x").unwrap().shape(), [STEPS, 32, 1, 28, 28]);
        assert_eq!(batches.tensor("y").unwrap().dtype(), Dtype::I64);
        let about: serde_json::Value = serde_json::from_slice(&read("agree.json")).unwrap();
        let losses: Vec<f64> = serde_json::from_value(about["losses"].clone()).unwrap();
        assert_eq!(losses.len(), STEPS);
        // At first all ten classes are about as likely.
        assert!((losses[0] - 10f64.ln()).abs() < 0.2 && losses[19] < losses[0], "{losses:?}");
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn rows_that_compute_no_loss_have_nothing_to_agree_about() {
        let suite = Suite::new(None).filtered(&["op/matmul".into()]).unwrap();
        assert!(matches!(write(&suite, Path::new("nowhere"), 1), Err(Error::NothingToAgree)));
        assert!(!Path::new("nowhere").exists());
    }
}
