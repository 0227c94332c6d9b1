//! Writes event files for TensorBoard into the folder that is named: `tests/event_file.py` reads them.

use std::path::Path;

use cotangent_board::plot::Picture;
use cotangent_board::tensorboard::EventFile;

fn main() -> std::io::Result<()> {
    let folder = std::env::args().nth(1).ok_or_else(|| std::io::Error::other("usage: events FOLDER"))?;
    let folder = Path::new(&folder);
    std::fs::create_dir_all(folder)?;
    let mut events = EventFile::create(folder)?;
    for step in 1..=120 {
        events.scalars(step, &[("train/loss", 1.0 / step as f64), ("train/rate", 0.1)])?;
    }
    // What came after step 100 is written again, as by a run that goes on from its checkpoint.
    drop(events);
    let mut events = EventFile::resume(folder, 100)?;
    let pixels: Vec<f64> = (0..28 * 28).map(f64::from).collect();
    let values: Vec<f64> = (0..1000).map(|i| f64::from(i) / 999.0).collect();
    for step in 101..=110 {
        events.scalars(step, &[("train/loss", 1.0 / step as f64), ("train/rate", 0.1)])?;
    }
    events.image(110, "filters/conv1", [28, 28], &Picture::of(&pixels, [1, 28, 28], false).png(1))?;
    events.histogram(110, "weights/fc", &values)
}
