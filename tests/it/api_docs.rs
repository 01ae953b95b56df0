//! docs/api.md, typed in as it stands: every command of it against a breakerd that was just started.
//!
//! The commands run one after the other in one shell, so that one can use what another has set. What they print is not
//! compared letter by letter, since times and ids differ; but every word in capitals that the document shows (a state,
//! a reason, a code) must be in what was really printed, and a command fails where the document shows an error, and
//! only there.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use prost::Message as _;
use prost_types::FileDescriptorSet;

use crate::process::Process;

const DOCUMENT: &str = "docs/api.md";

/// A command, and what the document shows of its answer.
struct Example {
    line: usize,
    command: String,
    shown: String,
}

#[tokio::test]
async fn every_command_of_the_api_guide_does_what_it_shows() {
    let examples = examples(&fs::read_to_string(DOCUMENT).unwrap());
    let folder = tempfile::tempdir().unwrap();
    fs::copy("breakerd.toml", folder.path().join("breakerd.toml")).unwrap();
    let process = Process::ready(folder.path(), None).await;
    let address = process.grpc.strip_prefix("http://").unwrap();
    let answers = type_in(&examples, folder.path(), address, &process.http).await;
    let mut wrong = String::new();
    for (example, (code, said)) in examples.iter().zip(&answers) {
        let problem = match (example.is_error(), *code) {
            (false, 0) => missing(&example.shown, said),
            (true, code) if code != 0 => missing(&example.shown, said),
            // A stream that is only looked at for a while ends with the client's own deadline.
            (false, _) if example.is_watch() && said.contains("DeadlineExceeded") => {
                missing(&example.shown, said)
            }
            (true, _) => Some("it shows an error, and there is none".to_owned()),
            (false, code) => Some(format!("exit code {code}")),
        };
        if let Some(problem) = problem {
            let _ = write!(wrong, "\n{DOCUMENT}:{}: {problem}\n$ {}\n{said}", example.line, example.command);
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn every_method_has_a_command_in_the_api_guide() {
    let text = fs::read_to_string(DOCUMENT).unwrap();
    let commands: Vec<_> = examples(&text).into_iter().map(|example| example.command).collect();
    let set = FileDescriptorSet::decode(breakerd_api::FILE_DESCRIPTOR_SET).unwrap();
    let mut missing = Vec::new();
    for file in set.file.iter().filter(|file| file.package() == "breakerd.v1") {
        for service in &file.service {
            for method in &service.method {
                let path = format!("breakerd.v1.{}/{}", service.name(), method.name());
                let is_called = |command: &String| {
                    command.split_whitespace().any(|word| word.trim_matches(['"', '\'', ')', ';']) == path)
                };
                if !commands.iter().any(is_called) {
                    missing.push(path);
                }
            }
        }
    }
    assert!(missing.is_empty(), "no command calls {missing:?}");
}

impl Example {
    fn is_error(&self) -> bool {
        self.shown.starts_with("ERROR:")
    }

    fn is_watch(&self) -> bool {
        self.command.contains("-max-time")
    }
}

/// The commands of the blocks that are marked `console`: a line that begins with `$ `, with those that continue it.
fn examples(text: &str) -> Vec<Example> {
    let mut examples: Vec<Example> = Vec::new();
    let (mut inside, mut continues) = (false, false);
    for (index, line) in text.lines().enumerate() {
        if line.starts_with("```") {
            inside = line == "```console";
            continues = false;
        } else if inside && (continues || line.starts_with("$ ")) {
            let part = line.strip_prefix("$ ").unwrap_or(line);
            if !continues {
                examples.push(Example { line: index + 1, command: String::new(), shown: String::new() });
            }
            let example = examples.last_mut().unwrap();
            example.command.push_str(part);
            example.command.push('\n');
            // A loop and a quoted text go on to their ends, a line that ends in a backslash to the next.
            let is_quoted = example.command.matches('\'').count() % 2 == 1;
            let is_loop = example.command.split_whitespace().filter(|word| *word == "do").count()
                > example
                    .command
                    .split_whitespace()
                    .filter(|word| word.trim_end_matches(';') == "done")
                    .count();
            continues = part.ends_with('\\') || is_quoted || is_loop;
        } else if inside && let Some(example) = examples.last_mut() {
            example.shown.push_str(line);
            example.shown.push('\n');
        }
    }
    examples
}

/// Runs all of them in one shell. For each: its exit code, and what it printed.
async fn type_in(examples: &[Example], folder: &Path, grpc: &str, http: &str) -> Vec<(i32, String)> {
    let mut script = String::from("set -o pipefail\n");
    for (index, example) in examples.iter().enumerate() {
        let command = example.command.replace("localhost:50051", grpc).replace("http://localhost:8080", http);
        let _ = writeln!(script, "{{\n{command}}} >{index}.out 2>&1\necho $? >{index}.code");
    }
    let tools = fs::canonicalize(".tools/bin").expect("`make test` fetches grpcurl into .tools/bin");
    let path = format!("{}:{}", tools.display(), std::env::var("PATH").unwrap_or_default());
    let mut shell = Command::new("bash");
    shell.args(["-c", &script]).current_dir(folder).env("PATH", path).stdin(Stdio::null());
    let status = tokio::task::spawn_blocking(move || shell.status()).await.unwrap().unwrap();
    let read = |name: String| fs::read_to_string(folder.join(name)).unwrap_or_default();
    let answers = (0..examples.len()).map(|index| {
        let code = read(format!("{index}.code")).trim().parse();
        (code.unwrap_or_else(|_| panic!("the shell stopped early: {status}")), read(format!("{index}.out")))
    });
    answers.collect()
}

/// The words that are shown and were not printed.
fn missing(shown: &str, said: &str) -> Option<String> {
    let said = words(said);
    let missing: Vec<_> = words(shown).into_iter().filter(|word| !said.contains(word)).collect();
    (!missing.is_empty()).then(|| format!("it shows {missing:?}, which were not printed"))
}

/// What stands in a text in capitals with a `_` in it, and the codes of errors.
fn words(text: &str) -> BTreeSet<String> {
    let is_word = |word: &&str| {
        word.contains('_')
            && word.len() > 3
            && word.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_')
    };
    let split = |character: char| !character.is_ascii_alphanumeric() && character != '_';
    let capitals = text.split(split).filter(is_word).map(str::to_owned);
    let codes = text.lines().filter_map(|line| line.trim().strip_prefix("Code: ")).map(str::to_owned);
    capitals.chain(codes).collect()
}
