//! CPU time and memory of processes, from `/proc` (proc(5)).

use crate::measure::text;

/// CPU time the live threads of a process have used, microseconds. The kernel counts it in
/// nanoseconds (`schedstat`), where `stat` counts ticks of 10 ms; the threads of what is measured
/// live as long as it does.
pub(crate) fn cpu_us(pid: u32) -> Result<f64, String> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).map_err(text)?;
    let mut total = 0.0;
    for task in tasks {
        let path = task.map_err(text)?.path().join("schedstat");
        // A thread that ended between the listing and the reading takes its time along.
        let Ok(stat) = std::fs::read_to_string(&path) else {
            continue;
        };
        let ran = stat.split(' ').next().and_then(|n| n.parse::<f64>().ok());
        total += ran.ok_or_else(|| format!("{} is not understood", path.display()))? / 1000.0;
    }
    if total == 0.0 {
        return Err(format!(
            "/proc/{pid}/task/*/schedstat counts nothing: CONFIG_SCHED_INFO"
        ));
    }
    Ok(total)
}

/// CPU time of a process with threads that have ended, microseconds; in steps of 10 ms.
pub(crate) fn cpu_of_all_us(pid: u32) -> Result<f64, String> {
    let path = format!("/proc/{pid}/stat");
    let stat = std::fs::read_to_string(&path).map_err(|e| format!("{path}: {e}"))?;
    // Behind the name, which may hold anything: utime and stime are the 12th and 13th.
    let fields = stat.rsplit_once(')').map(|(_, fields)| fields);
    let ticks = fields
        .unwrap_or_default()
        .split_whitespace()
        .skip(11)
        .take(2);
    let ticks: Vec<f64> = ticks.filter_map(|ticks| ticks.parse().ok()).collect();
    match ticks[..] {
        [user, system] => Ok((user + system) * 1e4),
        _ => Err(format!("{path} is not understood")),
    }
}

/// Resident memory of a process, KiB.
pub(crate) fn rss_kib(pid: u32) -> Result<f64, String> {
    status_kib(pid, "VmRSS:")
}

/// The most it ever was, KiB.
pub(crate) fn peak_kib(pid: u32) -> Result<f64, String> {
    status_kib(pid, "VmHWM:")
}

fn status_kib(pid: u32, name: &str) -> Result<f64, String> {
    let path = format!("/proc/{pid}/status");
    let status = std::fs::read_to_string(&path).map_err(|e| format!("{path}: {e}"))?;
    let line = status.lines().find_map(|l| l.strip_prefix(name));
    line.and_then(|l| l.trim().trim_end_matches(" kB").parse().ok())
        .ok_or_else(|| format!("{path} is not understood"))
}
