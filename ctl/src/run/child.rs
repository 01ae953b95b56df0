//! The command of `run` as a process: started, waited for, signalled, stopped.

use std::ffi::OsString;
use std::io::{self, IsTerminal as _};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, Command, ExitStatus};
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, kill_process_group, waitid};
use tokio::signal::unix::{Signal as Listener, SignalKind, signal};

/// How long a command has to stop after SIGTERM, before it is killed.
const STOP_MAX: Duration = Duration::from_secs(10);

/// How the command ended.
#[derive(Debug)]
pub(super) enum End {
    /// It could not be started.
    NotStarted(io::Error),
    /// By itself.
    Exited(ExitStatus),
    /// After a signal that this process received and forwarded.
    Interrupted(ExitStatus),
    /// It took longer than it may, and was stopped.
    TimedOut,
}

/// The signals that stop this process, from the moment this is made.
pub(super) struct Signals {
    terminate: Listener,
    hangup: Listener,
    quit: Listener,
    interrupt: Listener,
    /// The command is in our process group, as one that reads from the terminal must be. Who types Ctrl-C there interrupts
    /// it too, and must not receive the signal twice. Elsewhere it has a group of its own, so that what it started is signalled
    /// with it.
    shares_terminal: bool,
}

impl Signals {
    pub(super) fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
            quit: signal(SignalKind::quit())?,
            interrupt: signal(SignalKind::interrupt())?,
            shares_terminal: io::stdin().is_terminal(),
        })
    }

    /// The next one, and whether the command has to be sent it.
    pub(super) async fn next(&mut self) -> (Signal, bool) {
        tokio::select! {
            _ = self.terminate.recv() => (Signal::TERM, true),
            _ = self.hangup.recv() => (Signal::HUP, true),
            _ = self.quit.recv() => (Signal::QUIT, !self.shares_terminal),
            _ = self.interrupt.recv() => (Signal::INT, !self.shares_terminal),
        }
    }
}

/// Runs `command`, for at most `time_max`. What this process is sent the command is sent.
pub(super) async fn run(command: &[OsString], time_max: Option<Duration>, signals: &mut Signals) -> End {
    let Some((program, arguments)) = command.split_first() else {
        return End::NotStarted(io::ErrorKind::InvalidInput.into());
    };
    let mut command = Command::new(program);
    command.args(arguments);
    if !signals.shares_terminal {
        command.process_group(0);
    }
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => return End::NotStarted(error),
    };
    let process_only = signals.shares_terminal;
    let timeout = async {
        match time_max {
            Some(time_max) => tokio::time::sleep(time_max).await,
            None => std::future::pending().await,
        }
    };
    tokio::pin!(timeout);
    let ended = ended(pid_of(&child));
    tokio::pin!(ended);
    let mut interrupted = false;
    loop {
        tokio::select! {
            // An end that is there already counts before a signal or a timeout of the same moment.
            biased;
            () = &mut ended => {
                return match child.wait() {
                    Ok(status) if interrupted => End::Interrupted(status),
                    Ok(status) => End::Exited(status),
                    Err(error) => End::NotStarted(error),
                };
            }
            (signal, send) = signals.next() => {
                interrupted = true;
                if send {
                    send_signal(&child, signal, process_only);
                }
            }
            () = &mut timeout => {
                send_signal(&child, Signal::TERM, process_only);
                if tokio::time::timeout(STOP_MAX, &mut ended).await.is_err() {
                    send_signal(&child, Signal::KILL, process_only);
                }
                // Fails only when the child was waited for already, which nothing else does.
                let _ = child.wait();
                return End::TimedOut;
            }
        }
    }
}

/// Ends when the command has ended. It stays a zombie until `wait`, so that its id is not reused before.
async fn ended(pid: Option<Pid>) {
    let Some(pid) = pid else { return };
    let wait = move || {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        while matches!(waitid(WaitId::Pid(pid), options), Err(Errno::INTR)) {}
    };
    // A thread of its own: the runtime's are for what does not block. It fails only when that panics.
    let _ = tokio::task::spawn_blocking(wait).await;
}

fn pid_of(child: &Child) -> Option<Pid> {
    i32::try_from(child.id()).ok().and_then(Pid::from_raw)
}

/// Signals the command, which was not waited for yet: it `process_only`, or its group.
fn send_signal(child: &Child, signal: Signal, process_only: bool) {
    let Some(pid) = pid_of(child) else { return };
    // It fails only when the command has ended already.
    let _ = if process_only { kill_process(pid, signal) } else { kill_process_group(pid, signal) };
}

/// The number of the signal that ended a process.
pub(super) fn signal_of(status: ExitStatus) -> Option<i32> {
    status.signal()
}
