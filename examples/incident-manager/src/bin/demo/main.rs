//! `make demo`: breakerd, two incident managers, and stand-ins for the five services around them, on this machine. Tells
//! what happens while it happens. Ends with exit code 1 if something does not come true, so that it is a test as well.
//!
//! Expects the programs `breakerd` and `incident-manager` in its own folder. `PAUSE=1` waits for Enter between the acts.

mod history;
mod processes;
mod story;
mod terminal;
mod traffic;

use std::process::ExitCode;

use tokio::signal::unix::{SignalKind, signal};

use crate::story::Story;
use crate::terminal::Terminal;

#[tokio::main]
async fn main() -> ExitCode {
    let terminal = Terminal::new();
    // What was started is killed when the story is dropped, however it ends.
    let ended = tokio::select! {
        ended = play(&terminal) => ended,
        signal = interrupted() => Err(signal),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            terminal.failed(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

async fn play(terminal: &Terminal) -> anyhow::Result<()> {
    let folder = processes::Folder::new()?;
    let told = async { Story::begin(terminal, folder.path()).await?.tell().await }.await;
    if told.is_err() {
        folder.keep();
        terminal.say(&format!("Settings and logs are in {}.", folder.path().display()));
    }
    told
}

async fn interrupted() -> anyhow::Error {
    let (Ok(mut interrupt), Ok(mut terminate)) =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return anyhow::anyhow!("signals cannot be received");
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    anyhow::anyhow!("interrupted")
}
