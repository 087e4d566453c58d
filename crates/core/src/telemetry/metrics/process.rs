//! What the operating system says of this process, from `/proc`. Absent elsewhere than on Linux.

use std::{fs, time::SystemTime};

/// Resources in use now.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Process {
    pub(super) cpu_seconds: Option<f64>,
    pub(super) resident_bytes: Option<u64>,
    pub(super) open_files: Option<u64>,
    pub(super) started: Option<f64>,
}

impl Process {
    pub(super) fn now() -> Self {
        let stat = fs::read_to_string("/proc/self/stat").ok();
        let fields = stat.as_deref().and_then(stat_fields);
        let uptime = fs::read_to_string("/proc/uptime").ok();
        Process {
            cpu_seconds: fields.as_ref().and_then(cpu_seconds),
            resident_bytes: fs::read_to_string("/proc/self/status")
                .ok()
                .as_deref()
                .and_then(resident_bytes),
            open_files: fs::read_dir("/proc/self/fd")
                .ok()
                .map(|files| files.count() as u64),
            started: started(
                fields.as_deref(),
                uptime.as_deref(),
                super::unix_seconds(SystemTime::now()),
            ),
        }
    }
}

/// Linux counts in hundredths of a second towards programs whatever its own clock does (`USER_HZ`).
const TICKS: f64 = 100.0;

/// The fields of `/proc/self/stat` after the name, which may hold spaces and parentheses; the first is
/// number 3 in proc(5).
fn stat_fields(stat: &str) -> Option<Vec<&str>> {
    Some(
        stat.get(stat.rfind(')')? + 1..)?
            .split_ascii_whitespace()
            .collect(),
    )
}

#[allow(clippy::ptr_arg, reason = "as `Option::and_then` hands it over")]
fn cpu_seconds(fields: &Vec<&str>) -> Option<f64> {
    let user: f64 = fields.get(14 - 3)?.parse().ok()?;
    let system: f64 = fields.get(15 - 3)?.parse().ok()?;
    Some((user + system) / TICKS)
}

fn started(fields: Option<&[&str]>, uptime: Option<&str>, now: f64) -> Option<f64> {
    let after_boot: f64 = fields?.get(22 - 3)?.parse().ok()?;
    let up: f64 = uptime?.split_ascii_whitespace().next()?.parse().ok()?;
    Some(now - up + after_boot / TICKS)
}

fn resident_bytes(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_behind_an_odd_name() {
        let stat = "42 (a) b (c)) S 1 42 42 0 -1 4194560 1 0 0 0 250 50 0 0 20 0 3 0 12345 1000 10";
        let fields = stat_fields(stat).unwrap();
        assert_eq!(cpu_seconds(&fields), Some(3.0));
        assert_eq!(
            started(Some(&fields), Some("1000.00 900.00"), 5_000.0),
            Some(4_000.0 + 123.45)
        );
        assert_eq!(resident_bytes("Name:\tx\nVmRSS:\t    2048 kB\n"), Some(2 << 20));
        assert_eq!((cpu_seconds(&vec!["S"]), resident_bytes("")), (None, None));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn everything_is_there_on_linux() {
        let process = Process::now();
        assert!(process.cpu_seconds.is_some() && process.started.is_some());
        assert!(process.resident_bytes.unwrap() > 0 && process.open_files.unwrap() > 0);
    }
}
