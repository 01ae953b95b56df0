//! promtool: ours, or the system's.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output, Stdio};

/// What `promtool check` says of a text.
pub(crate) fn promtool(check: &str, text: &str) -> (ExitStatus, String) {
    let mut child = command()
        .args(["check", check])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| no_promtool(&error));
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    said(child.wait_with_output().unwrap())
}

/// What it says, run in `folder`.
pub(crate) fn promtool_in(folder: &Path, arguments: &[&str]) -> (ExitStatus, String) {
    let child =
        command().args(arguments).current_dir(folder).spawn().unwrap_or_else(|error| no_promtool(&error));
    said(child.wait_with_output().unwrap())
}

fn command() -> Command {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join(".tools/bin/promtool");
    let mut command = Command::new(if own.exists() { own } else { PathBuf::from("promtool") });
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn no_promtool<T>(error: &std::io::Error) -> T {
    panic!("promtool does not run ({error}): `make tools` installs it")
}

fn said(output: Output) -> (ExitStatus, String) {
    (output.status, String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
}
