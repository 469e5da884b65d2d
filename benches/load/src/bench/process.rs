//! Programs under measurement: started on chosen processors, watched through `/proc`.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Lines};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use nix::unistd::{SysconfVar, sysconf};

/// A running program; killed when it is dropped.
pub struct Program {
    child: Child,
    lines: Option<Lines<BufReader<ChildStdout>>>,
}

impl Program {
    /// Starts `path` on these processors (`0`, `1-3`; empty: any).
    pub fn start(
        cpus: &str,
        path: &Path,
        arguments: impl IntoIterator<Item = impl AsRef<OsStr>>,
    ) -> anyhow::Result<Self> {
        let mut command = if cpus.is_empty() {
            Command::new(path)
        } else {
            // It becomes the program, so what is watched is the program.
            let mut command = Command::new("taskset");
            command.args(["-c", cpus]).arg(path);
            command
        };
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("cannot start {}", path.display()))?;
        let lines = child.stdout.take().map(|out| BufReader::new(out).lines());
        Ok(Self { child, lines })
    }

    /// The next line that it prints.
    pub fn line(&mut self) -> anyhow::Result<String> {
        match self.lines.as_mut().and_then(Iterator::next) {
            Some(line) => Ok(line?),
            None => bail!("the program ended: {}", self.child.wait()?),
        }
    }

    /// Reads what else it prints and throws it away, so that it never waits for a reader.
    pub fn ignore_output(&mut self) {
        let lines = self.lines.take();
        std::thread::spawn(move || lines.into_iter().flatten().for_each(drop));
    }

    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits for its end; fails when it did.
    pub fn finish(mut self) -> anyhow::Result<()> {
        let status = self.child.wait()?;
        if status.success() { Ok(()) } else { bail!("the program ended with {status}") }
    }

    /// SIGTERM, and its end.
    pub fn stop(mut self) -> anyhow::Result<()> {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.child.id())?);
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM)?;
        self.ignore_output();
        let deadline = Instant::now() + Duration::from_secs(60);
        while self.child.try_wait()?.is_none() {
            if Instant::now() > deadline {
                bail!("the program does not end");
            }
            pause(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Processor time that all its threads have used, in seconds.
    pub fn cpu_seconds(&self) -> anyhow::Result<f64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        // The name stands in parentheses and may hold blanks; user and system time are fields 14 and 15.
        let after_name = stat.rsplit_once(')').context("a name in parentheses")?.1;
        let fields: Vec<&str> = after_name.split_whitespace().collect();
        let ticks = |at: usize| fields.get(at).and_then(|text| text.parse::<f64>().ok()).unwrap_or_default();
        let ticks_per_second = sysconf(SysconfVar::CLK_TCK)?.unwrap_or(100) as f64;
        Ok((ticks(11) + ticks(12)) / ticks_per_second)
    }

    pub fn resident_bytes(&self) -> anyhow::Result<u64> {
        let statm = std::fs::read_to_string(format!("/proc/{}/statm", self.child.id()))?;
        let pages: u64 = statm.split(' ').nth(1).context("resident pages")?.parse()?;
        Ok(pages * sysconf(SysconfVar::PAGE_SIZE)?.unwrap_or(4_096).unsigned_abs())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Between two looks.
pub fn pause(time: Duration) {
    let end = Instant::now() + time;
    while let Some(rest) = end.checked_duration_since(Instant::now()).filter(|rest| !rest.is_zero()) {
        std::thread::park_timeout(rest);
    }
}
