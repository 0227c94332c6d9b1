//! The machine: where to compute, on how many threads, with how much memory.

use cotangent::device::cpu::isa;
use cotangent::{Device, attempt};
use rayon::ThreadPoolBuilder;

use crate::config::DeviceName;
use crate::diagnostic::{Diagnostic, Exit};
use crate::numerals::bytes;

/// The device that was asked for.
pub(crate) fn device(name: DeviceName) -> Result<Device, Diagnostic> {
    match name {
        DeviceName::Auto | DeviceName::Cpu => Ok(Device::cpu()),
        DeviceName::Virtual => Ok(Device::virtual_gpu()),
        DeviceName::Cuda(n) => {
            let title = format!("no CUDA device {n}: this program was built without CUDA kernels");
            Err(Diagnostic::new(Exit::Device, title)
                .help("use `--device cpu`, or `--device virtual` for the teaching GPU"))
        }
    }
}

/// The device as a name on one line: `cpu (2 threads, AVX-512)`.
pub(crate) fn describe(device: &Device, threads: usize) -> String {
    let plural = if threads == 1 { "" } else { "s" };
    let isa = match isa().name() {
        "avx512" => "AVX-512",
        "avx2" => "AVX2",
        other => other,
    };
    let name = if device.is_cpu() { "cpu" } else { "virtual GPU on cpu" };
    format!("{name} ({threads} thread{plural}, {isa})")
}

/// `linux x86_64`
pub(crate) fn host() -> String {
    format!("{} {}", std::env::consts::OS, std::env::consts::ARCH)
}

/// The commit that is checked out around the working directory; nothing where there is no git, or nothing for it.
pub(crate) fn commit() -> Option<String> {
    let mut git = std::process::Command::new("git");
    git.args(["rev-parse", "HEAD"]).stdin(std::process::Stdio::null()).stderr(std::process::Stdio::null());
    let output = git.output().ok().filter(|output| output.status.success())?;
    let commit = String::from_utf8(output.stdout).ok()?;
    Some(commit.trim().to_string()).filter(|c| c.len() >= 40 && c.chars().all(|c| c.is_ascii_hexdigit()))
}

/// What the processor can do beyond the least of its family, as far as kernels care.
pub(crate) fn features() -> Vec<&'static str> {
    #[cfg(target_arch = "x86_64")]
    {
        let all = [
            ("sse4.2", is_x86_feature_detected!("sse4.2")),
            ("avx", is_x86_feature_detected!("avx")),
            ("avx2", is_x86_feature_detected!("avx2")),
            ("fma", is_x86_feature_detected!("fma")),
            ("avx512f", is_x86_feature_detected!("avx512f")),
            ("avx512vl", is_x86_feature_detected!("avx512vl")),
            ("avx512bf16", is_x86_feature_detected!("avx512bf16")),
            ("avx512vnni", is_x86_feature_detected!("avx512vnni")),
        ];
        all.into_iter().filter(|(_, there)| *there).map(|(name, _)| name).collect()
    }
    #[cfg(not(target_arch = "x86_64"))]
    Vec::new()
}

/// Worker threads: as many as asked for, else as `RAYON_NUM_THREADS` says, else one for each core.
pub(crate) fn threads(asked: usize) -> usize {
    let from_environment = || std::env::var("RAYON_NUM_THREADS").ok()?.parse().ok().filter(|n| *n > 0);
    // A container or an affinity mask may leave less than the machine has.
    let cores = || num_cpus::get_physical().min(std::thread::available_parallelism().map_or(1, usize::from));
    if asked > 0 { asked } else { from_environment().unwrap_or_else(cores).max(1) }
}

/// Runs `f` inside a pool of its own: entered once, because entering costs as much as a small operation. What the
/// library raises in it, such as memory that has no room, ends in words.
pub(crate) fn with_threads<T: Send>(
    threads: usize,
    f: impl FnOnce() -> Result<T, Diagnostic> + Send,
) -> Result<T, Diagnostic> {
    let pool = ThreadPoolBuilder::new().num_threads(threads).build().map_err(|e| {
        Diagnostic::new(Exit::Failure, format!("cannot start {threads} threads: {e}"))
            .help("`--threads N` asks for fewer")
    })?;
    pool.install(|| attempt(f).map_err(Diagnostic::from).flatten())
}

/// Refuses what cannot fit into this machine's memory, before anything of it is taken.
pub(crate) fn must_fit(what: &str, needed: u64, help: &str) -> Result<(), Diagnostic> {
    match memory() {
        Some(there) if needed > there => {
            let title =
                format!("{what} needs about {}, and this machine has {}", bytes(needed), bytes(there));
            Err(Diagnostic::new(Exit::Device, title).help(help))
        }
        _ => Ok(()),
    }
}

/// Bytes of memory that this process may still take: what the machine has free, what its container may use, and what its
/// shell allows; where they can be asked.
pub(crate) fn available() -> Option<u64> {
    let read = |path: &str| std::fs::read_to_string(path).ok();
    let first = |text: &str| text.split_whitespace().find_map(|word| word.parse::<u64>().ok());
    let free =
        || first(read("/proc/meminfo")?.lines().find(|l| l.starts_with("MemAvailable:"))?)?.checked_mul(1024);
    let container = || {
        let most: u64 = read("/sys/fs/cgroup/memory.max")?.trim().parse().ok()?;
        let used: u64 = read("/sys/fs/cgroup/memory.current")?.trim().parse().ok()?;
        Some(most.saturating_sub(used))
    };
    let shell = || first(read("/proc/self/limits")?.lines().find(|l| l.starts_with("Max address space"))?);
    [free(), container(), shell()].into_iter().flatten().min()
}

/// Bytes of memory of the machine, where it can be asked.
pub(crate) fn memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_that_is_not_there_is_refused_with_its_code() {
        let error = device(DeviceName::Cuda(3)).unwrap_err();
        assert_eq!(error.exit(), Exit::Device);
        assert!(error.title().contains("CUDA device 3"), "{error}");
        assert!(device(DeviceName::Virtual).unwrap().as_virtual_gpu().is_some());
    }

    #[test]
    fn a_pool_has_the_threads_that_were_asked_for() {
        assert_eq!(threads(7), 7);
        assert!(threads(0) >= 1);
        for n in [1, 3] {
            assert_eq!(with_threads(n, || Ok(rayon::current_num_threads())).unwrap(), n);
        }
    }

    #[test]
    fn no_more_is_free_than_there_is() {
        if let (Some(free), Some(all)) = (available(), memory()) {
            assert!((1..=all).contains(&free), "{free} of {all}");
        }
    }

    #[test]
    fn nobody_has_an_exabyte() {
        must_fit("a little", 1, "").unwrap();
        if memory().is_some() {
            let error = must_fit("the network", 1 << 60, "less").unwrap_err();
            assert_eq!(error.exit(), Exit::Device);
            assert!(error.title().starts_with("the network needs about 1073741824.0 GiB"), "{error}");
        }
    }
}
