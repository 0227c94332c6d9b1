//! How numbers are written for people.

use std::time::Duration;

use indicatif::HumanCount;

/// `61,706`
pub(crate) fn count(n: u64) -> String {
    HumanCount(n).to_string()
}

/// `98.71%`; a share that is not a number stays one.
pub(crate) fn percent(share: f64) -> String {
    format!("{:.2}%", share * 100.0)
}

/// `512 B`, `4.7 KiB`, `1.2 MiB`
pub(crate) fn bytes(n: u64) -> String {
    let units = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match units.into_iter().find(|(size, _)| n >= *size) {
        Some((size, unit)) => format!("{:.1} {unit}", n as f64 / size as f64),
        None => format!("{n} B"),
    }
}

/// `0.4s`, `7.1s`, `42s`, `3m05s`, `2h07m`
pub(crate) fn duration(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    let whole = seconds.round() as u64;
    match whole {
        _ if seconds < 9.95 => format!("{seconds:.1}s"),
        0..60 => format!("{whole}s"),
        60..3600 => format!("{}m{:02}s", whole / 60, whole % 60),
        _ => format!("{}h{:02}m", whole / 3600, whole / 60 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_easily() {
        assert_eq!(count(61_706), "61,706");
        assert_eq!(percent(0.98714), "98.71%");
        assert_eq!(percent(f64::NAN), "NaN%");
        assert_eq!([512, 4_813, 1 << 30].map(bytes), ["512 B", "4.7 KiB", "1.0 GiB"]);
        let shown = |s: f64| duration(Duration::from_secs_f64(s));
        assert_eq!(
            [0.44, 9.96, 59.4, 59.6, 185.0, 7620.0].map(shown),
            ["0.4s", "10s", "59s", "1m00s", "3m05s", "2h07m"]
        );
    }
}
