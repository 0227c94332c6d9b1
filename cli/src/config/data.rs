//! `[data]`: which examples, how files become inputs, which are held out, how they are changed and visited.

use std::fmt;
use std::path::PathBuf;

use cotangent_data::pattern::Pattern;
use serde::{Deserialize, Serialize};

use super::{Problem, must};

names! {
    /// The order in which examples are visited.
    SamplerName {
        /// A new permutation every epoch.
        Shuffled = "shuffled",
        /// 1..N, 1..N, …
        Cyclic = "cyclic",
        /// Each drawn independently, with replacement.
        Iid = "iid",
    }
}

names! {
    /// How a picture is brought to another size.
    FilterName {
        /// Each new pixel is the mean of the area that it covers.
        Area = "area",
        /// Between the four nearest pixels.
        Bilinear = "bilinear",
    }
}

names! {
    /// What is done about a number that is missing.
    MissingName {
        /// The file is refused.
        Error = "error",
        /// The mean of the training examples stands in.
        Mean = "mean",
        /// 0 stands in.
        Zero = "zero",
        /// The example is left out.
        Drop = "drop",
    }
}

/// Where examples come from: `mnist`, `wafer`, or a kind and a path such as `folder:DIR`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) enum DataName {
    /// The bundled MNIST.
    Mnist,
    /// Maps of wafers, drawn by a fixed seed.
    Wafer,
    /// Files of a kind.
    Files(Kind, PathBuf),
}

names! {
    /// Kinds of files.
    Kind {
        /// A folder with four IDX files under MNIST's names, gzipped or not.
        Idx = "idx",
        /// A folder of pictures with a sub-folder for each class.
        Folder = "folder",
        /// An NPZ file, or a folder of NPY files.
        Npz = "npz",
        /// A CSV file, or a folder with train.csv and test.csv.
        Csv = "csv",
        /// The folder of CIFAR-10's binary files.
        Cifar10 = "cifar10",
    }
}

impl Kind {
    /// All of them.
    pub(crate) const ALL: [Kind; 5] = [Kind::Idx, Kind::Folder, Kind::Npz, Kind::Csv, Kind::Cifar10];

    /// What stands behind the colon, in words.
    pub(crate) fn expects(self) -> &'static str {
        match self {
            Kind::Idx => "a folder with four IDX files, such as `idx:data/fashion`",
            Kind::Folder => "a folder of pictures with a sub-folder for each class, such as `folder:photos`",
            Kind::Npz => "an NPZ file or a folder of NPY files, such as `npz:wafers.npz`",
            Kind::Csv => "a CSV file or a folder with train.csv, such as `csv:table.csv`",
            Kind::Cifar10 => "the folder of CIFAR-10's binary files, such as `cifar10:cifar-10-batches-bin`",
        }
    }
}

impl TryFrom<String> for DataName {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text == "mnist" {
            return Ok(DataName::Mnist);
        }
        if text == "wafer" {
            return Ok(DataName::Wafer);
        }
        let (kind, path) = text.split_once(':').unwrap_or((&text, ""));
        match Kind::ALL.into_iter().find(|k| k.name() == kind) {
            Some(kind) if path.is_empty() && text.contains(':') => {
                Err(format!("`{kind}:` lacks its path, expected {}", kind.expects()))
            }
            Some(kind) => Ok(DataName::Files(kind, path.into())),
            None => {
                let expected = "expected `mnist`, `wafer`, `folder:DIR`, `csv:FILE`, `npz:FILE`, `idx:DIR` or `cifar10:DIR`";
                Err(format!("unknown data set `{text}`, {expected}"))
            }
        }
    }
}

impl From<DataName> for String {
    fn from(data: DataName) -> String {
        data.to_string()
    }
}

impl DataName {
    /// A short name, for a run folder: `mnist`, or the file's or folder's own name.
    pub(crate) fn short(&self) -> String {
        let (kind, path) = match self {
            DataName::Mnist => return "mnist".into(),
            DataName::Wafer => return "wafer".into(),
            DataName::Files(kind, path) => (kind, path),
        };
        let name = path.file_stem().map(|n| n.to_string_lossy().to_lowercase()).unwrap_or_default();
        let clean: String = name.chars().filter(|c| c.is_ascii_alphanumeric() || "-_".contains(*c)).collect();
        if clean.is_empty() { kind.name().into() } else { clean }
    }

    /// A name such as a file to predict might have.
    pub(crate) fn example(&self) -> &'static str {
        match self.kind() {
            None if *self == DataName::Wafer => "wafer.png",
            None | Some(Kind::Idx) => "digit.png",
            Some(Kind::Folder | Kind::Cifar10) => "picture.png",
            Some(Kind::Npz) => "new.npy",
            Some(Kind::Csv) => "new.csv",
        }
    }

    /// What kind of files they are; MNIST and wafers are none.
    pub(crate) fn kind(&self) -> Option<Kind> {
        match self {
            DataName::Mnist | DataName::Wafer => None,
            DataName::Files(kind, _) => Some(*kind),
        }
    }
}

impl fmt::Display for DataName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DataName::Mnist => f.write_str("mnist"),
            DataName::Wafer => f.write_str("wafer"),
            DataName::Files(kind, path) if path.as_os_str().is_empty() => f.write_str(kind.name()),
            DataName::Files(kind, path) => write!(f, "{kind}:{}", path.display()),
        }
    }
}

/// `[data]`: the examples and the order in which they are visited.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct DataConfig {
    /// Where they come from: mnist, wafer, folder:DIR, csv:FILE, npz:FILE, idx:DIR, cifar10:DIR.
    pub(crate) name: DataName,
    /// The path, where `name` is the kind alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) path: Option<PathBuf>,
    /// Test examples of the same kind that lie elsewhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) test: Option<PathBuf>,
    /// Examples in a step.
    pub(crate) batch: usize,
    /// Short for the sampler shuffled, or cyclic; read as that, and never written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) shuffle: Option<bool>,
    /// Their order: shuffled, cyclic, iid.
    pub(crate) sampler: SamplerName,
    /// Whether a last, shorter batch is left out.
    pub(crate) drop_last: bool,
    /// Training examples held out for validation: a share below 1, or a number of examples.
    pub(crate) val_split: f64,
    /// Examples held out as test examples where the data has none of its own: a share, or a number; 0.2 if left open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) test_split: Option<f64>,
    /// Only this share of the training examples is fitted, or so many of them; left open, all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) fraction: Option<f64>,
    /// How examples are held out.
    #[serde(skip_serializing_if = "SplitConfig::is_default")]
    pub(crate) split: SplitConfig,
    /// Height and width that all pictures are brought to.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "super::two")]
    pub(crate) resize: Option<[usize; 2]>,
    /// How: area or bilinear.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) filter: Option<FilterName>,
    /// 1 reads pictures as grey, 3 as colour; left open, grey where all are grey.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) channels: Option<usize>,
    /// The column or array with the class.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) label: Option<String>,
    /// The columns that are inputs; left open, all others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) features: Option<Vec<String>>,
    /// Columns that are not.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) exclude: Vec<String>,
    /// The array with the inputs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) inputs: Option<String>,
    /// What is done about missing numbers: error, mean, zero, drop.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) missing: Option<MissingName>,
    /// Random changes to training pictures.
    #[serde(skip_serializing_if = "AugmentConfig::is_default")]
    pub(crate) augment: AugmentConfig,
}

impl DataConfig {
    /// With every key there is.
    pub(super) fn full() -> Self {
        DataConfig {
            path: Some("p".into()),
            shuffle: Some(true),
            test: Some("p".into()),
            test_split: Some(0.2),
            fraction: Some(0.5),
            split: SplitConfig { by: Some("x".into()), stratified: Some(true) },
            resize: Some([1, 1]),
            filter: Some(FilterName::Area),
            channels: Some(1),
            label: Some("x".into()),
            features: Some(Vec::new()),
            exclude: vec!["x".into()],
            inputs: Some("x".into()),
            missing: Some(MissingName::Error),
            augment: AugmentConfig { shift: 1, rotate: 0.0, flip: 0.0 },
            ..DataConfig::default()
        }
    }
}

impl Default for DataConfig {
    fn default() -> Self {
        DataConfig {
            name: DataName::Mnist,
            path: None,
            test: None,
            batch: 64,
            shuffle: None,
            sampler: SamplerName::Shuffled,
            drop_last: false,
            val_split: 0.0,
            test_split: None,
            fraction: None,
            split: SplitConfig::default(),
            resize: None,
            filter: None,
            channels: None,
            label: None,
            features: None,
            exclude: Vec::new(),
            inputs: None,
            missing: None,
            augment: AugmentConfig::default(),
        }
    }
}

/// `data.split`: how examples are held out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct SplitConfig {
    /// Keep together what belongs together: a column or array, or a pattern of file names such as `{lot}_*`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) by: Option<String>,
    /// Whether each class has its share in every part; left open: except of mnist and idx.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) stratified: Option<bool>,
}

impl SplitConfig {
    fn is_default(&self) -> bool {
        *self == SplitConfig::default()
    }
}

/// `data.augment`: random changes to training pictures, new in every epoch.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct AugmentConfig {
    /// Pixels by which a picture is shifted at most, each way.
    pub(crate) shift: usize,
    /// Degrees by which it is turned at most, either way.
    pub(crate) rotate: f64,
    /// How likely left and right change places, from 0 to 1.
    pub(crate) flip: f64,
}

impl AugmentConfig {
    pub(crate) fn is_default(&self) -> bool {
        *self == AugmentConfig::default()
    }
}

/// Sides of a picture at most.
const LARGEST: usize = 4096;

impl DataConfig {
    /// Checks every value.
    pub(crate) fn resolve(&mut self) -> Result<(), Problem> {
        self.place()?;
        // Files and flags were read as the sampler; what a run keeps names that.
        must(self.shuffle.is_none(), "data.shuffle", "left out here", "it", "`data.sampler` says the same")?;
        let batch = self.batch;
        must(batch >= 1, "data.batch", "at least 1", batch, "64 is a good start")?;
        let is_count = |x: f64| x.is_finite() && x >= 0.0 && (x < 1.0 || x.fract() == 0.0);
        must(
            is_count(self.val_split),
            "data.val_split",
            "a share from 0 to below 1, or a whole number of examples",
            self.val_split,
            "0.1 holds out a tenth of the training examples, 5000 holds out 5,000 of them",
        )?;
        let test = self.test_split.unwrap_or(0.2);
        must(
            is_count(test) && test > 0.0,
            "data.test_split",
            "a share above 0 and below 1, or a whole number of examples",
            test,
            "0.2 holds out a fifth of the examples",
        )?;
        let fraction = self.fraction.unwrap_or(1.0);
        must(
            is_count(fraction) && fraction > 0.0,
            "data.fraction",
            "a share above 0 and below 1, 1 for all, or a whole number of examples",
            fraction,
            "0.1 fits a tenth of the training examples",
        )?;
        let sizes = self.resize.unwrap_or([1, 1]);
        must(
            sizes.iter().all(|s| (1..=LARGEST).contains(s)),
            "data.resize",
            "a height and a width from 1 to 4096",
            format!("[{}, {}]", sizes[0], sizes[1]),
            "[64, 64] is a good start",
        )?;
        let channels = self.channels.unwrap_or(1);
        must(
            matches!(channels, 1 | 3),
            "data.channels",
            "1 (grey) or 3 (colour)",
            channels,
            "leave it out to see",
        )?;
        let AugmentConfig { shift, rotate, flip } = self.augment;
        must(shift <= LARGEST, "data.augment.shift", "at most 4096 pixels", shift, "2 is usual for digits")?;
        let turn = (0.0..=180.0).contains(&rotate);
        must(turn, "data.augment.rotate", "from 0 to 180 degrees", rotate, "10 is usual for digits")?;
        must((0.0..=1.0).contains(&flip), "data.augment.flip", "a chance from 0 to 1", flip, "0.5 is usual")?;
        self.fitting()
    }

    /// Brings `path` into `name`.
    fn place(&mut self) -> Result<(), Problem> {
        let taken = match (&mut self.name, self.path.take()) {
            (DataName::Files(kind, path), None) if path.as_os_str().is_empty() => {
                let title = format!("`data.name` is `{kind}`, and no `data.path` says where");
                let fetched =
                    if *kind == Kind::Cifar10 { "; `cotangent data get cifar10` brings it" } else { "" };
                let help = format!("it is {}{fetched}", kind.expects());
                return Err(Problem::new("data.name", title, help));
            }
            (DataName::Files(_, inside), Some(path)) if inside.as_os_str().is_empty() => {
                *inside = path;
                true
            }
            (_, None) => true,
            (_, Some(_)) => false,
        };
        if taken {
            return Ok(());
        }
        let title = format!("`data.path` is set, and `data.name` is `{}`, which needs none", self.name);
        Err(Problem::new("data.path", title, "write such as `name = \"folder\"` and `path = \"photos\"`"))
    }

    /// Refuses settings that the kind of files does not have.
    fn fitting(&self) -> Result<(), Problem> {
        let kind = self.name.kind();
        let (folder, csv, npz) =
            (kind == Some(Kind::Folder), kind == Some(Kind::Csv), kind == Some(Kind::Npz));
        let own = |is_set: bool, fits: bool, key: &'static str, of: &str| match is_set && !fits {
            false => Ok(()),
            true => {
                let title = format!("`{key}` is a setting of {of}, and the data is `{}`", self.name);
                Err(Problem::new(key, title, format!("leave `{key}` out")))
            }
        };
        own(self.resize.is_some(), folder, "data.resize", "folders of pictures")?;
        own(self.filter.is_some(), folder, "data.filter", "folders of pictures")?;
        own(self.channels.is_some(), folder, "data.channels", "folders of pictures")?;
        own(self.label.is_some(), csv || npz, "data.label", "CSV and NPZ files")?;
        own(self.features.is_some(), csv, "data.features", "CSV files")?;
        own(!self.exclude.is_empty(), csv, "data.exclude", "CSV files")?;
        own(self.inputs.is_some(), npz, "data.inputs", "NPZ files")?;
        own(self.missing.is_some(), csv || npz, "data.missing", "CSV and NPZ files")?;
        own(
            self.test.is_some(),
            folder || csv || npz,
            "data.test",
            "folders of pictures, CSV and NPZ files",
        )?;
        own(
            self.split.by.is_some(),
            folder || csv || npz,
            "data.split.by",
            "folders of pictures, CSV and NPZ files",
        )?;
        own(!self.augment.is_default(), !csv, "data.augment", "pictures")?;
        if self.filter.is_some() && self.resize.is_none() {
            let title = "`data.filter` says how pictures are resized, and no `data.resize` says to what size";
            return Err(Problem::new("data.filter", title, "add such as `resize = [64, 64]`"));
        }
        if self.test.is_some() && self.test_split.is_some() {
            let title = "`data.test_split` holds out test examples, and `data.test` names others";
            return Err(Problem::new("data.test_split", title, "leave one of the two out"));
        }
        if let (true, Some(by)) = (folder, &self.split.by) {
            let wrong = |words| Problem::new("data.split.by", words, "`{lot}_*` finds `L7` in `L7_w3.png`");
            Pattern::new(by).map_err(wrong)?;
        }
        Ok(())
    }
}
