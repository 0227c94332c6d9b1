//! What each reader makes of good files, and that no bad one makes it panic, wait or take memory.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use cotangent_data::pattern::Pattern;
use cotangent_data::picture::{Filter, Levels};
use cotangent_data::{
    Kind, Limits, Origins, Parts, Picture, Place, Result, Values, arrays, cifar, folder, npy, table,
};

/// A folder that is removed at the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let n = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("cotangent-data-{}-{n}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Scratch(path)
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A file written by Pillow or NumPy; all pictures show the same 9 × 6 ramp, `4·i`, as grey or as
/// `(4·i, 255 − 4·i, 2·i)`.
fn sample(name: &str) -> Vec<u8> {
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/files").join(name)).unwrap()
}

fn picture(name: &str) -> Result<Picture> {
    Picture::decode(&sample(name), name.as_ref(), &Limits::default())
}

/// A grey PNG of one level.
fn png(height: u32, width: u32, level: u8) -> Vec<u8> {
    let mut bytes = Vec::new();
    let encoder = png::Encoder::new(&mut bytes, width, height);
    let data = vec![level; (height * width) as usize];
    encoder.write_header().unwrap().write_image_data(&data).unwrap();
    bytes
}

#[test]
fn every_kind_of_picture_is_read() {
    let ramp: Vec<f32> = (0..54).map(|i| (4 * i) as f32).collect();
    let colour: Vec<f32> = [|i: i32| 4 * i, |i| 255 - 4 * i, |i| 2 * i]
        .iter()
        .flat_map(|f| (0..54).map(move |i| f(i) as f32))
        .collect();
    let bilevel: Vec<f32> = ramp.iter().map(|x| if *x > 100.0 { 255.0 } else { 0.0 }).collect();
    let cases = [
        ("grey.png", 1, &ramp, 0.0),
        ("deep.png", 1, &ramp, 0.0),
        ("palette.png", 3, &colour, 20.0),
        ("grey.bmp", 1, &ramp, 0.0),
        ("rgb.bmp", 3, &colour, 0.0),
        ("rgba.bmp", 3, &colour, 0.0),
        ("palette.bmp", 3, &colour, 20.0),
        ("bilevel.bmp", 1, &bilevel, 0.0),
        ("grey.tif", 1, &ramp, 0.0),
        ("deep.tif", 1, &ramp, 0.0),
        ("real.tif", 1, &ramp, 0.01),
        ("palette.tif", 3, &colour, 20.0),
        ("palette-big.tif", 3, &colour, 20.0),
        ("lzw.tif", 3, &colour, 0.0),
        ("deflate.tif", 3, &colour, 0.0),
        ("bilevel.tif", 1, &bilevel, 0.0),
        ("jpeg-grey.tif", 1, &ramp, 4.0),
        ("jpeg.tif", 3, &colour, 40.0),
        ("grey.jpg", 1, &ramp, 4.0),
        ("rgb.jpg", 3, &colour, 8.0),
        ("progressive.jpg", 3, &colour, 40.0),
        ("cmyk.jpg", 3, &colour, 40.0),
    ];
    for (name, channels, expected, off) in cases {
        let p = picture(name).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!((p.height, p.width, p.channels), (6, 9, channels), "{name}");
        let found = p.planes();
        let worst = found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst <= off && found.len() == expected.len(), "{name}: {worst} off\n{found:?}");
        assert_eq!(p.is_deep(), ["deep.png", "deep.tif", "real.tif"].contains(&name), "{name}");
    }
}

/// A JPEG picture of 8208×14608 for a strip of 16×16, found by fuzzing: many such strips would take hours.
#[test]
fn a_jpeg_picture_larger_than_its_place_in_a_tiff_is_refused() {
    let error = picture("jpeg-beyond.tif").unwrap_err().to_string();
    assert!(error.contains("a part of 16×16 pixels is a JPEG picture of 8208×14608"), "{error}");
}

/// The crate for TIFF would print a line of its own about text that is longer than memory.
#[test]
fn text_longer_than_its_file_is_refused() {
    for (name, offset, number) in [("palette.tif", 4, 2), ("palette-big.tif", 8, 8)] {
        let mut bytes = sample(name);
        let directory = usize::from(u16::from_le_bytes([bytes[offset], bytes[offset + 1]]));
        // The first entry, behind the number of entries, becomes text of 2³⁰ − 1 bytes.
        let entry = directory + number;
        bytes[entry + 2] = 2;
        bytes[entry + 4..entry + 8].copy_from_slice(&[255, 255, 255, 63]);
        let error = Picture::decode(&bytes, name.as_ref(), &Limits::default()).unwrap_err().to_string();
        assert!(error.contains("is 1073741823 bytes of text, and the file has"), "{name}: {error}");
    }
}

#[test]
fn a_palette_has_three_bytes_a_colour() {
    for (palette, fits) in
        [(1, false), (2, false), (3, true), (4, false), (768, true), (769, false), (771, false)]
    {
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, 2, 1);
        encoder.set_color(png::ColorType::Indexed);
        encoder.set_palette(vec![7; palette]);
        encoder.write_header().unwrap().write_image_data(&[0, 0]).unwrap();
        let found = Picture::decode(&bytes, "x.png".as_ref(), &Limits::default());
        match found {
            Ok(p) => assert!(fits && p.levels == Levels::U8(vec![7; 2]), "{palette}: {p:?}"),
            Err(e) => {
                let text = e.to_string();
                assert!(
                    !fits && (text.contains("palette") || text.ends_with("wrong: PLTE")),
                    "{palette}: {e}"
                );
            }
        }
    }
}

#[test]
fn transparent_parts_become_white() {
    let p = picture("alpha.png").unwrap();
    assert_eq!(p.done, ["transparent parts made white"]);
    // Pixel 0 has alpha 0, the last one 212/255 over (212, 43, 106).
    let Levels::U8(v) = &p.levels else { panic!("8 bits") };
    assert_eq!(v[..3], [255, 255, 255]);
    let mixed = |x: f64| (212.0 / 255.0 * x + 43.0).round() as u8;
    assert_eq!(v[53 * 3..], [mixed(212.0), mixed(43.0), mixed(106.0)]);
}

#[test]
fn a_picture_is_turned_as_its_camera_was_held() {
    let plain = sample("grey.jpg");
    let noted = |note: &[u8]| {
        let length = (note.len() as u16 + 2).to_be_bytes();
        let bytes = [&plain[..2], &[0xff, 0xe1], &length, note, &plain[2..]].concat();
        Picture::decode(&bytes, "x.jpg".as_ref(), &Limits::default()).unwrap()
    };
    let little =
        |n: u8| [b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0", &[n, 0, 0, 0][..]].concat();
    let big = |n: u8| [b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01", &[0, n, 0, 0][..]].concat();
    // The first two levels of the first row of the ramp, turned and mirrored by hand.
    let cases = [[0, 4], [32, 28], [212, 208], [180, 184], [0, 36], [180, 144], [212, 176], [32, 68]];
    for (n, expected) in (1..=8).zip(cases) {
        for note in [little(n), big(n)] {
            let p = noted(&note);
            assert_eq!((p.height, p.width), if n < 5 { (6, 9) } else { (9, 6) });
            let found = p.planes();
            let near = expected.iter().zip(&found).all(|(e, x)| (x - *e as f32).abs() <= 4.0);
            assert!(near, "{n}: {expected:?} {:?}", &found[..2]);
            assert_eq!(p.done.len(), usize::from(n > 1), "it says so");
        }
    }
    // Notes that say nothing, or are damaged, turn nothing.
    let cut = little(6)[..20].to_vec();
    for note in [little(0), little(9), cut, b"Exif\0\0II*\0\xff\xff\xff\xff".to_vec(), b"Exif\0\0".to_vec()] {
        assert_eq!(noted(&note), picture("grey.jpg").unwrap());
    }
}

#[test]
fn real_numbers_without_a_scale_are_refused() {
    let with = |values: [f32; 2]| {
        let mut bytes = b"II*\0\x10\0\0\0".to_vec();
        values.iter().for_each(|x| bytes.extend(x.to_le_bytes()));
        let tags: [(u16, u32); 9] =
            [(256, 2), (257, 1), (258, 32), (259, 1), (262, 1), (273, 8), (277, 1), (279, 8), (339, 3)];
        bytes.extend((tags.len() as u16).to_le_bytes());
        for (tag, value) in tags {
            bytes.extend(tag.to_le_bytes());
            bytes.extend(4_u16.to_le_bytes());
            bytes.extend(1_u32.to_le_bytes());
            bytes.extend(value.to_le_bytes());
        }
        bytes.extend([0; 4]);
        Picture::decode(&bytes, "x.tif".as_ref(), &Limits::default())
    };
    for (values, expected) in
        [([0.0, 1.0], [0, 65535]), ([255.0, 51.0], [65535, 13107]), ([7.0, 65535.0], [7, 65535])]
    {
        assert_eq!(with(values).unwrap().levels, Levels::U16(expected.to_vec()));
    }
    for values in [[-0.5, 1.0], [0.0, f32::NAN], [0.0, f32::INFINITY], [0.0, 1e6]] {
        let error = with(values).unwrap_err();
        assert!(error.to_string().contains("real numbers") && !error.helps().is_empty(), "{error}");
    }
}

#[test]
fn what_is_not_read_says_so() {
    for (name, words) in [("grey.gif", "GIF"), ("group4.tif", "not read")] {
        let error = picture(name).unwrap_err();
        assert!(error.to_string().contains(words) && !error.helps().is_empty(), "{error}");
    }
    let error = Picture::decode(b"hello, world", "x.png".as_ref(), &Limits::default()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "x.png: begins with 68 65 6c 6c, as no PNG, JPEG, BMP or TIFF does (at byte 0)"
    );
}

#[test]
fn a_mean_over_areas_keeps_the_mean_and_bilinear_is_pytorchs() {
    let p = picture("grey.png").unwrap();
    let mean = |v: &[f32]| v.iter().sum::<f32>() / v.len() as f32;
    for (h, w) in [(1, 1), (2, 3), (3, 9), (5, 7), (12, 20)] {
        let small = p.clone().resized(h, w, Filter::Area);
        assert_eq!((small.height, small.width), (h, w));
        assert!((mean(&small.planes()) - mean(&p.planes())).abs() < 1.0, "{h} {w}");
    }
    // torch.nn.functional.interpolate([0, 10, 20, 30], size=2, mode='bilinear') = [5, 25]; to 8: 0, 2.5, 7.5, …
    let line =
        Picture { width: 4, height: 1, channels: 1, levels: Levels::U8(vec![0, 10, 20, 30]), done: vec![] };
    assert_eq!(line.clone().resized(1, 2, Filter::Bilinear).levels, Levels::U8(vec![5, 25]));
    let eight = line.resized(1, 8, Filter::Bilinear).levels;
    assert_eq!(eight, Levels::U8(vec![0, 3, 8, 13, 18, 23, 28, 30]));
}

#[test]
fn a_folder_has_its_classes_in_order() {
    let s = Scratch::new();
    for (class, name) in [("dog", "L1_b.png"), ("cat", "L1_a.png"), ("cat", "deeper/L2_z.JPG")] {
        s.write(&format!("{class}/{name}"), png(4, 3, 7));
    }
    s.write("cat/notes.txt", "no picture");
    s.write("cat/.hidden.png", "x");
    s.write("dog/without-extension", png(4, 3, 9));
    fs::create_dir(s.0.join("empty")).unwrap();
    let options = folder::Options { group: Some(Pattern::new("{lot}_*").unwrap()), ..Default::default() };
    let error = folder::read(&s.0, &options).unwrap_err();
    assert!(error.to_string().contains("without-extension") && error.kind() == Kind::Option, "{error}");
    let Parts { train, test: None, .. } = folder::read(&s.0, &Default::default()).unwrap() else { panic!() };
    assert_eq!(train.classes, ["cat", "dog"]);
    assert_eq!((train.shape, train.labels), (vec![1, 4, 3], vec![0, 0, 1, 1]));
    assert_eq!(train.origins.name(1), "cat/deeper/L2_z.JPG");
    assert_eq!(train.remarks.len(), 2, "{:?}", train.remarks);
    fs::remove_file(s.0.join("dog/without-extension")).unwrap();
    let parts = folder::read(&s.0, &options).unwrap();
    assert_eq!(parts.train.groups.unwrap(), ["L1", "L2", "L1"]);
}

#[test]
fn a_folder_may_have_parts() {
    let s = Scratch::new();
    for part in ["train", "val", "Test"] {
        s.write(&format!("{part}/a/1.png"), png(2, 2, 1));
        s.write(&format!("{part}/b/1.png"), sample("rgb.bmp"));
    }
    let error = folder::read(&s.0, &Default::default()).unwrap_err();
    assert!(error.to_string().contains("6×9") && error.helps()[0].contains("resize = [2, 2]"), "{error}");
    let options = folder::Options { resize: Some([4, 4]), ..Default::default() };
    let parts = folder::read(&s.0, &options).unwrap();
    assert_eq!(parts.train.shape, [3, 4, 4]);
    assert_eq!(parts.val.unwrap().labels, [0, 1]);
    assert_eq!(parts.test.unwrap().inputs.len(), 2 * 48);
    s.write("Test/c/1.png", png(2, 2, 1));
    let error = folder::read(&s.0, &options).unwrap_err();
    assert!(error.to_string().contains("class `c`"), "{error}");
}

#[test]
fn folders_that_cannot_be_right_are_refused_with_words() {
    let s = Scratch::new();
    let refused = |words: &str| {
        let error = folder::read(&s.0, &Default::default()).unwrap_err();
        assert!(error.to_string().contains(words), "{words}: {error}");
        assert!(!error.helps().is_empty(), "{error}");
    };
    refused("holds no picture");
    s.write("1.png", png(2, 2, 1));
    refused("no sub-folder with pictures");
    s.write("a/1.png", png(2, 2, 1));
    refused("one class only, `a`");
    s.write("b/1.png", png(3, 2, 1));
    refused("3×2 pixels");
    s.write("b/1.png", "");
    refused("is empty");
    s.write("b/1.png", &png(2, 2, 1)[..40]);
    refused("damaged or incomplete PNG");
    s.write("b/1.png", png(2, 2, 1));
    fs::create_dir(s.0.join("b/2.png")).unwrap();
    assert!(folder::read(&s.0, &Default::default()).is_ok(), "a folder may be called 2.png");
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink(&s.0, s.0.join("b/loop")).unwrap();
        refused("leads back to");
        fs::remove_file(s.0.join("b/loop")).unwrap();
        std::os::unix::fs::symlink("nowhere", s.0.join("b/3.png")).unwrap();
        refused("link that leads nowhere");
        fs::remove_file(s.0.join("b/3.png")).unwrap();
        let fifo = s.0.join("b/pipe.png");
        assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
        refused("not a regular file");
        fs::remove_file(fifo).unwrap();
        use std::os::unix::ffi::OsStrExt;
        let odd = s.0.join(std::ffi::OsStr::from_bytes(b"c\xff"));
        fs::create_dir(&odd).unwrap();
        refused("no UTF-8");
        fs::remove_dir(odd).unwrap();
        s.write("a\nb/1.png", png(2, 2, 1));
        refused("control characters");
    }
}

#[test]
fn a_header_cannot_ask_for_memory() {
    // 60,000 × 60,000 pixels promised by a PNG, a BMP and a TIFF of a few bytes.
    let mut bomb = png(2, 2, 1);
    bomb[16..24].copy_from_slice(&[0, 0, 0xea, 0x60, 0, 0, 0xea, 0x60]);
    let mut sums = Vec::new();
    let mut crc = flate2::Crc::new();
    crc.update(&bomb[12..29]);
    sums.extend(crc.sum().to_be_bytes());
    bomb[29..33].copy_from_slice(&sums);
    let mut bmp = sample("rgb.bmp");
    bmp[18..26].copy_from_slice(&[0x60, 0xea, 0, 0, 0x60, 0xea, 0, 0]);
    for bytes in [bomb, bmp] {
        let error = Picture::decode(&bytes, "bomb".as_ref(), &Limits::default()).unwrap_err();
        assert!(error.to_string().contains("60000 × 60000"), "{error}");
    }
    let mut many = b"\x93NUMPY\x01\x00\x76\x00".to_vec();
    many.extend(
        format!("{:<118}", "{'descr': '<f8', 'fortran_order': False, 'shape': (99999999999, 99999999999), }")
            .bytes(),
    );
    let error = npy::read(&many[..], u64::MAX, "a.npy".as_ref(), None).unwrap_err();
    assert!(error.to_string().contains("can be taken"), "{error}");
    let s = Scratch::new();
    let error = arrays::read(&s.write("a.npy", many), &Default::default()).unwrap_err();
    assert!(error.to_string().contains("can be taken") || error.kind() == Kind::Option, "{error}");
}

#[test]
fn no_more_pictures_are_kept_than_the_limit_allows() {
    let s = Scratch::new();
    for i in 0..40 {
        s.write(&format!("{}/{i}.png", ["a", "b"][i % 2]), png(100, 100, 7));
    }
    let limits = Limits { bytes: 400_000, ..Limits::default() };
    let options = folder::Options { limits, ..Default::default() };
    let error = folder::read(&s.0, &options).unwrap_err();
    assert!(
        error.to_string().contains("40 pictures need more than") && error.kind() == Kind::Option,
        "{error}"
    );
    let options = folder::Options { resize: Some([8, 8]), ..options };
    assert_eq!(folder::read(&s.0, &options).unwrap().train.len(), 40);
}

#[test]
fn scans_without_number_are_not_read() {
    let whole = sample("progressive.jpg");
    let scan = whole.windows(2).rposition(|w| w == [0xff, 0xda]).unwrap();
    let (head, last) = (&whole[..whole.len() - 2], &whole[scan..whole.len() - 2]);
    let bytes = [head, &last.repeat(100_000), &[0xff, 0xd9]].concat();
    let error = Picture::decode(&bytes, "s.jpg".as_ref(), &Limits::default()).unwrap_err();
    assert!(error.to_string().contains("scans, and at most 100 are read"), "{error}");
}

#[test]
fn arrays_are_found_by_their_names() {
    let s = Scratch::new();
    let parts = arrays::read(&s.write("plain.npz", sample("plain.npz")), &Default::default()).unwrap();
    assert_eq!((parts.train.shape, parts.train.labels), (vec![1, 6, 9], vec![0, 1, 0]));
    assert!(matches!(&parts.train.inputs, Values::U8(v) if v[..3] == [0, 4, 8]));
    let parts = arrays::read(&s.write("packed.npz", sample("packed.npz")), &Default::default()).unwrap();
    assert_eq!((parts.train.classes, parts.train.labels), (vec!["bad".into(), "ok".into()], vec![1, 0, 1]));
    assert_eq!(parts.test.unwrap().labels, [0, 1]);
    assert_eq!(parts.train.scale, 1.0);
    let array = npy::read(&sample("fortran.npy")[..], 1000, "f".as_ref(), None).unwrap();
    assert_eq!(array.elements, npy::Elements::Int((0..24).collect()));
    let options = arrays::Options { label: Some("nothing".into()), ..Default::default() };
    let error = arrays::read(&s.0.join("plain.npz"), &options).unwrap_err();
    assert!(error.to_string().contains("it holds `x`, `y`") && error.kind() == Kind::Option, "{error}");
}

/// An NPY file of version 1.
fn npy_file(descr: &str, shape: &str, data: &[u8]) -> Vec<u8> {
    let header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n");
    let mut file = b"\x93NUMPY\x01\x00".to_vec();
    file.extend((header.len() as u16).to_le_bytes());
    file.extend(header.bytes());
    file.extend(data);
    file
}

#[test]
fn an_empty_array_has_sizes_that_can_be_multiplied_too() {
    let read = |shape: &str| npy::read(&npy_file("|u1", shape, &[])[..], 1000, "a.npy".as_ref(), None);
    assert_eq!(read("(0, 2, 3)").unwrap().shape, [0, 2, 3]);
    for shape in [
        "(0, 2, 318691686912, 31869168691583331)",
        "(4294967296, 4294967296, 0)",
        "(0, 18446744073709551615)",
    ] {
        let error = read(shape).unwrap_err().to_string();
        assert!(error.contains("more than the 1000 bytes that are there or can be taken"), "{error}");
    }
}

#[test]
fn labels_and_numbers_that_cannot_be_right_are_refused() {
    let s = Scratch::new();
    let folder = |x: &[f32], y: Vec<u8>| {
        let x: Vec<u8> = x.iter().flat_map(|x| x.to_le_bytes()).collect();
        s.write("d/x.npy", npy_file("<f4", &format!("({}, 1)", x.len() / 4), &x));
        s.write("d/y.npy", y);
        arrays::read(&s.0.join("d"), &Default::default())
    };
    let y = |labels: &[i8]| {
        let bytes: Vec<u8> = labels.iter().map(|l| *l as u8).collect();
        npy_file("|i1", &format!("({},)", labels.len()), &bytes)
    };
    assert_eq!(folder(&[1.0, 2.0], y(&[1, 0])).unwrap().train.labels, [1, 0]);
    let hot = npy_file("|u1", "(2, 2)", &[0, 1, 1, 0]);
    assert_eq!(folder(&[1.0, 2.0], hot).unwrap().train.labels, [1, 0]);
    let cases = [
        (folder(&[1.0, f32::NAN], y(&[1, 0])), "holds NaN (example 1, number 0)"),
        (folder(&[f32::INFINITY, 1.0], y(&[1, 0])), "holds inf (example 0"),
        (folder(&[1.0, 2.0], y(&[1, 0, 1])), "one label each is needed"),
        (folder(&[1.0, 2.0], y(&[-1, 0])), "`y` holds -1 at position 0, and labels are 0 to 0"),
        (folder(&[1.0, 2.0], y(&[-1, -1])), "`y` holds -1 at position 0, and labels are 0 or more"),
        (folder(&[1.0, 2.0], npy_file("|u1", "(2, 0)", &[])), "has shape [2, 0], and labels have shape [N]"),
        (folder(&[1.0, 2.0], y(&[100, 0])), "holds 100, with 2 examples"),
        (folder(&[1.0, 2.0], y(&[0, 0])), "one class only"),
        (folder(&[1.0, 2.0], npy_file("|u1", "(2, 2)", &[1, 1, 1, 0])), "row 0 is not a single 1"),
        (folder(&[1.0, 2.0], npy_file("<f4", "(2,)", &[0, 0, 0, 63, 0, 0, 0, 0])), "holds 0.5 at position 0"),
        (folder(&[1.0, 2.0], npy_file("<c8", "(2,)", &[0; 16])), "type `<c8`"),
        (folder(&[1.0, 2.0], npy_file("|O", "(2,)", &[0; 16])), "type `|O`"),
        (folder(&[], y(&[])), "holds no example"),
    ];
    for (found, words) in cases {
        let error = found.unwrap_err();
        assert!(error.to_string().contains(words), "{words}: {error}");
    }
    // With nothing left, an example would be looked for in vain.
    folder(&[f32::NAN, f32::NAN], y(&[1, 0])).unwrap_err();
    let drop = arrays::Options { missing: table::Missing::Drop, ..Default::default() };
    let error = arrays::read(&s.0.join("d"), &drop).unwrap_err();
    assert!(error.to_string().contains("no complete example"), "{error}");
}

#[test]
fn columns_are_found_by_their_names() {
    let parse =
        |text: &str, options: &table::Options| table::parse(text.as_bytes(), "t.csv".as_ref(), options);
    let text = "lot;x;y;class\nA;1,5;2;good\n";
    let error =
        parse(text, &table::Options { exclude: vec!["lot".into()], ..Default::default() }).unwrap_err();
    assert!(error.to_string().contains("decimal comma"), "{error}");
    // What the reader of CSV would take without a word.
    for (text, expected) in [
        ("x,class\n1,a\n2,\"b\n3,a\n4,b\n", "opened and never closed (at line 3)"),
        ("x,class\n1,a\n\"2\"3,b\n", "goes on behind its closing quote (at line 3)"),
    ] {
        let error = parse(text, &table::Options::default()).unwrap_err();
        assert!(error.to_string().contains(expected) && !error.helps().is_empty(), "{error}");
    }
    let text = "x,class\n\"1\" ,\"say \"\"a\"\"\"\n2,5\" b\n";
    assert_eq!(parse(text, &table::Options::default()).unwrap().classes, ["5\" b", "say \"a\""]);
    let text = "\u{feff}lot,x,\"y, z\",class\r\nA,1,2,10\r\nB,,4,9\r\nA,5,6,9\r\n";
    let options = |missing| table::Options { group: Some("lot".into()), missing, ..Default::default() };
    let set = parse(text, &options(table::Missing::Mean)).unwrap();
    assert_eq!((set.features, set.classes), (vec!["x".into(), "y, z".into()], vec!["9".into(), "10".into()]));
    assert_eq!(
        (set.labels, set.groups.unwrap()),
        (vec![1, 0, 0], vec!["A".to_string(), "B".into(), "A".into()])
    );
    assert!(matches!(set.inputs, Values::F32(v) if v[2].is_nan() && v[3] == 4.0));
    let set = parse(text, &options(table::Missing::Drop)).unwrap();
    assert_eq!((set.labels, set.origins), (vec![1, 0], Origins::Lines(vec![2, 4])));
}

#[test]
fn a_feature_may_be_called_as_classes_often_are() {
    let options = table::Options {
        features: Some(vec!["x".into(), "y".into()]),
        unlabelled: true,
        ..Default::default()
    };
    for text in ["y,x\n2,1\n", "class,y,x\n,2,1\n", "x,label,y\n1,z,2\n"] {
        let set = table::parse(text.as_bytes(), "t.csv".as_ref(), &options).unwrap();
        assert_eq!((set.inputs, set.labels.len()), (Values::F32(vec![1.0, 2.0]), 0), "{text}");
    }
}

#[test]
fn tables_that_cannot_be_right_are_refused_with_line_and_column() {
    let cases: [(&[u8], &str); 17] = [
        (b"", "holds numbers"),
        (b"a,class\n", "no example"),
        (b"1,2\n3,4\n", "holds numbers, and names of columns"),
        (b"a,a,class\n1,2,x\n", "two columns are called `a`"),
        (b"a,b\n1,2\n", "which column holds the class"),
        (
            b"a,class\r\n1,x\r\n\r\n2\r\n",
            "the line has 1 fields, and the first line names 2 columns (at line 4)",
        ),
        (b"a,class\n1,x\n2\n", "the line has 1 fields, and the first line names 2 columns (at line 3)"),
        (b"a,class\n1,x\nz,y\n", "`z` is no number (at line 3, column `a`)"),
        (b"a,class\n1,x\n,y\n", "empty or stands for a missing number (at line 3, column `a`)"),
        (b"a,class\n1,x\nNaN,y\n", "missing number (at line 3, column `a`)"),
        (b"a,class\n1,x\ninf,y\n", "`inf` is not finite"),
        (b"a,class\n1,x\n1e99,y\n", "`1e99` is not finite"),
        (b"a,class\n1,x\n2,\n", "the example has no class (at line 3, column `class`)"),
        (b"a,class\n1,x\n2,x\n", "one class only, `x`"),
        (b"a,class\n1,x\n2,\xff\n", "no UTF-8 (at line 3)"),
        (b"\xff\xfea\0,\0", "no CSV file in UTF-8"),
        (b"class\nx\ny\n", "no column for inputs"),
    ];
    for (text, words) in cases {
        let text = if text.is_empty() { b"1\n" } else { text };
        let error = table::parse(text, "t.csv".as_ref(), &table::Options::default()).unwrap_err();
        assert!(error.to_string().contains(words), "{words}: {error}");
    }
    let measured: String = (0..40).map(|i| format!("{i},{}.5\n", i)).collect();
    let options = table::Options { label: Some("b".into()), ..Default::default() };
    let error = table::parse(format!("a,b\n{measured}").as_bytes(), "t.csv".as_ref(), &options).unwrap_err();
    assert!(error.to_string().contains("40 different numbers"), "{error}");
}

#[test]
fn cifar_is_read_record_by_record() {
    let s = Scratch::new();
    let record = |label: u8, level: u8| [vec![label], vec![level; cifar::RECORD - 1]].concat();
    s.write("data_batch_1.bin", [record(3, 7), record(9, 8)].concat());
    s.write("test_batch.bin", record(0, 1));
    let parts = cifar::read(&s.0, &Limits::default()).unwrap();
    assert_eq!((parts.train.labels, parts.test.unwrap().labels), (vec![3, 9], vec![0]));
    assert!(parts.train.remarks[0].contains("1 of CIFAR-10's five"));
    s.write("data_batch_1.bin", [record(3, 7), record(10, 8)].concat());
    let error = cifar::read(&s.0, &Limits::default()).unwrap_err();
    assert_eq!(error.place(), Some(&Place::Byte(cifar::RECORD as u64)));
    s.write("data_batch_1.bin", &record(3, 7)[..3000]);
    let error = cifar::read(&s.0, &Limits::default()).unwrap_err();
    assert!(error.to_string().contains("3000 are left over (at byte 0)"), "{error}");
}

/// A zip archive whose one entry has this name and these bytes.
fn archive(name: &str, bytes: &[u8]) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let options =
        zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Deflated);
    writer.start_file(name, options).unwrap();
    writer.write_all(bytes).unwrap();
    writer.finish().unwrap().into_inner()
}

#[test]
fn an_archive_is_never_unpacked_and_no_bomb_goes_off() {
    let s = Scratch::new();
    let options = arrays::Options { labelled: false, ..Default::default() };
    let read = |bytes: Vec<u8>| arrays::read(&s.write("a.npz", bytes), &options).map(|p| p.train);
    let good = npy_file("|u1", "(2, 3)", &[1, 2, 3, 4, 5, 6]);
    assert_eq!(read(archive("../../evil.npy", &good)).unwrap().shape, [3]);
    assert!(!s.0.parent().unwrap().join("evil.npy").exists());
    let error = read(archive("readme.txt", b"x")).unwrap_err();
    assert!(error.to_string().contains("none of them NPY"), "{error}");
    // 63 MiB of zeros in 64 kB: as long as the limit allows it is an array, and no more than the limit is taken.
    let long = npy_file("|u1", "(63, 1048576)", &vec![0; 63 << 20]);
    let bomb = archive("x.npy", &long);
    assert!(bomb.len() < 100_000);
    let small = Limits { bytes: 1 << 20, ..Limits::default() };
    let few = arrays::Options { limits: small, ..options.clone() };
    let error = arrays::read(&s.write("a.npz", bomb), &few).unwrap_err();
    assert!(error.to_string().contains("can be taken"), "{error}");
    // Twice as long it is none, whatever the limit; without compression it is an array again.
    let long = npy_file("|u1", "(128, 1048576)", &vec![0; 128 << 20]);
    let error = read(archive("x.npy", &long)).unwrap_err();
    assert!(error.to_string().contains("as those of a bomb do (in `x`)"), "{error}");
    assert!(error.helps()[0].contains("`numpy.savez`"), "{error}");
}

#[test]
fn two_arrays_of_one_name_are_refused() {
    let s = Scratch::new();
    let mut file = archive("x.npy", &npy_file("|u1", "(2, 3)", &[1, 2, 3, 4, 5, 6]));
    // The record of the only file stands twice in the list at the end, whose record of itself counts two.
    let at = |what: &[u8; 4]| file.windows(4).position(|w| w == what).unwrap();
    let (list, end) = (at(b"PK\x01\x02"), at(b"PK\x05\x06"));
    let record = file[list..end].to_vec();
    let last = end + record.len();
    file.splice(end..end, record.iter().copied());
    for (place, value) in [(8, 2_u32), (10, 2), (12, 2 * record.len() as u32)] {
        let width = if place == 12 { 4 } else { 2 };
        file[last + place..][..width].copy_from_slice(&value.to_le_bytes()[..width]);
    }
    let options = arrays::Options { labelled: false, ..Default::default() };
    let error = arrays::read(&s.write("a.npz", file), &options).unwrap_err();
    assert!(error.to_string().contains("holds 2 files under 1 names: one stands there twice"), "{error}");
}

#[test]
fn an_array_that_is_no_examples_is_refused_with_help() {
    for (shape, data) in [("(2,)", 2), ("()", 1), ("(1, 1, 1, 1, 1)", 1), ("(2, 0)", 0)] {
        let file = npy_file("|b1", shape, &vec![1; data]);
        let array = cotangent_data::npy::read(&file[..], 1000, "a.npy".as_ref(), None).unwrap();
        let error = arrays::inputs(array, "a.npy".as_ref(), &Default::default()).unwrap_err();
        assert!(!error.helps().is_empty(), "{shape}: {error}");
    }
}

/// Whether some bytes are read well; a file may be written into the folder for that.
type Reader = fn(&[u8], &Path) -> bool;

/// Every kind of file, and what reads it.
fn all_readers() -> Vec<(String, Vec<u8>, Reader)> {
    let decode: Reader = |bytes, _| {
        Picture::decode(bytes, "p".as_ref(), &Limits { pixels: 1 << 20, ..Limits::default() }).is_ok()
    };
    let array: Reader = |bytes, _| npy::read(bytes, 1 << 20, "a".as_ref(), None).is_ok();
    let archive: Reader = |bytes, scratch| {
        let path = scratch.join("mutant.npz");
        fs::write(&path, bytes).unwrap();
        arrays::read(&path, &Default::default()).is_ok()
    };
    let csv: Reader = |bytes, _| table::parse(bytes, "t".as_ref(), &Default::default()).is_ok();
    let mut all = Vec::new();
    for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/files")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let reader = match path.extension().and_then(|e| e.to_str()) {
            Some("npz") => archive,
            Some("npy") => array,
            _ => decode,
        };
        all.push((name, fs::read(path).unwrap(), reader));
    }
    all.sort_by(|a, b| a.0.cmp(&b.0));
    let text = "a,\"b c\",class\n1,2,x\n-3.5e2,,y\n0,\"1\",x\n";
    all.push(("table.csv".into(), text.as_bytes().to_vec(), csv));
    all
}

/// xorshift64*
struct Noise(u64);

impl Noise {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        ((self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize) % n.max(1)
    }
}

#[test]
fn no_cut_file_panics_and_few_pass() {
    let s = Scratch::new();
    for (name, whole, reads) in all_readers() {
        let step = (whole.len() / 400).max(1);
        let began = Instant::now();
        let cuts: Vec<usize> = (0..whole.len()).step_by(step).collect();
        let passed: Vec<usize> = cuts.iter().copied().filter(|cut| reads(&whole[..*cut], &s.0)).collect();
        assert!(began.elapsed() < Duration::from_secs(60), "{name}");
        // What follows the last number or pixel may be lost; in a table, whole lines.
        let end = passed.iter().filter(|cut| **cut + 64 < whole.len()).count();
        assert!(name.ends_with("csv") || end == 0, "{name}: of {} bytes, cut at {passed:?}", whole.len());
    }
}

#[test]
fn no_changed_file_panics_or_takes_long() {
    let s = Scratch::new();
    let mut noise = Noise(42);
    let mut slowest = (Duration::ZERO, String::new());
    for (name, whole, reads) in all_readers() {
        for round in 0..300 {
            let mut bytes = whole.clone();
            for _ in 0..1 + noise.below(4) {
                // Headers decide most, so half of the changes are there.
                let at = if noise.below(2) == 0 {
                    noise.below(bytes.len().min(100))
                } else {
                    noise.below(bytes.len())
                };
                match noise.below(6) {
                    0 => bytes[at] ^= 1 << noise.below(8),
                    1 => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][noise.below(5)],
                    2 => bytes[at] = noise.below(256) as u8,
                    3 => bytes.truncate(at + 1),
                    4 => {
                        let from = noise.below(bytes.len());
                        let piece = bytes[from..(from + 8).min(bytes.len())].to_vec();
                        bytes.splice(at..at, piece);
                    }
                    _ => {
                        let end = (at + 1 + noise.below(4)).min(bytes.len());
                        bytes[at..end].fill(0xff);
                    }
                }
            }
            let began = Instant::now();
            reads(&bytes, &s.0);
            if began.elapsed() > slowest.0 {
                slowest = (began.elapsed(), format!("{name}, round {round}"));
            }
        }
    }
    assert!(slowest.0 < Duration::from_secs(5), "{slowest:?}");
}
