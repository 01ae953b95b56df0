//! The incident of docs/cli.md, played as it stands: with the file that breakerd comes with, a command after the other.
//!
//! What is printed is compared with what the document shows, word by word, but for words that hold a digit (times,
//! lengths of time, revisions); below a `…` anything may follow.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::process::{Process, ends};

const DOCUMENT: &str = "docs/cli.md";
const SECTION: &str = "## An incident, from start to end";

/// A command, and the lines that the document shows below it.
struct Step {
    command: String,
    shown: Vec<String>,
}

#[tokio::test]
async fn the_incident_of_the_command_lines_guide_can_be_played_with_the_shipped_file() {
    let text = fs::read_to_string(DOCUMENT).unwrap();
    let steps = steps(text.split(SECTION).nth(1).unwrap());
    assert!(steps.len() > 10, "the incident has {} commands", steps.len());
    let folder = tempfile::tempdir().unwrap();
    fs::copy("breakerd.toml", folder.path().join("breakerd.toml")).unwrap();
    let process = Process::ready(folder.path(), None).await;
    for Step { command, shown } in steps {
        let output =
            ends(shell(&command, folder.path(), process.grpc.strip_prefix("http://").unwrap())).await;
        let (out, err) =
            (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
        assert!(output.status.success(), "$ {command}\n{out}{err}");
        let printed: Vec<_> = out.lines().map(words).collect();
        let (shown, more) = match shown.split_last() {
            Some((last, before)) if last == "…" => (before, true),
            _ => (&shown[..], false),
        };
        let shown: Vec<_> = shown.iter().map(|line| words(line)).collect();
        let compared = if more { &printed[..shown.len().min(printed.len())] } else { &printed[..] };
        assert_eq!(compared, shown, "$ {command}\n{out}{err}");
    }
    let report = fs::read_to_string(folder.path().join("incident.jsonl")).unwrap();
    assert!(report.lines().count() > 3, "{report}");
}

fn shell(command: &str, folder: &Path, address: &str) -> Command {
    let program = Path::new(env!("CARGO_BIN_EXE_breakerd")).parent().unwrap();
    let path = std::env::var("PATH").unwrap_or_default();
    let mut shell = Command::new("sh");
    shell.args(["-ec", command]).current_dir(folder).stdin(Stdio::null());
    shell.env("PATH", format!("{}:{path}", program.display())).env("BREAKERD_ADDRESS", address);
    shell
}

fn steps(section: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for block in section.split("```console\n").skip(1) {
        for line in block.split("```").next().unwrap().lines() {
            match (line.strip_prefix("$ "), steps.last_mut()) {
                (Some(command), _) => steps.push(Step { command: command.to_owned(), shown: Vec::new() }),
                (None, Some(step)) => step.shown.push(line.to_owned()),
                (None, None) => panic!("{line} stands below no command"),
            }
        }
    }
    steps
}

/// The words of a line, with `#` for those that are another each time.
fn words(line: &str) -> Vec<String> {
    let word = |word: &str| {
        if word.contains(|c: char| c.is_ascii_digit()) { "#".to_owned() } else { word.to_owned() }
    };
    line.split_whitespace().map(word).collect()
}
