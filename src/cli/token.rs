//! `breakerd token`: makes tokens.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};

use crate::auth::{Digest, Pattern, Role, Token, is_name};
use crate::config::{Error, access};

const EXAMPLES: &str = "Examples:
  breakerd token new --name payments-api --role caller \\
      --service payments --service 'payments.*'
      print the token, and the block for the file in auth.tokens_file
  token=$(breakerd token new --name ci --role operator --append tokens.toml)
      print only the token, and append the block to the file";

/// What to do with tokens.
#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Create a token. It is printed once and not stored.
    #[command(after_help = EXAMPLES)]
    New(NewTokenArgs),
}

/// The arguments of `token new`.
#[derive(Debug, Args)]
pub struct NewTokenArgs {
    /// Client identity of the token, as shown in the audit log.
    #[arg(long, value_parser = name)]
    pub name: String,
    /// Role: caller, reader, operator or admin. Repeat for more than one.
    #[arg(long = "role", value_name = "ROLE", required = true, value_parser = role)]
    pub roles: Vec<Role>,
    /// Service name or pattern with `*`. Repeat for more than one. [default: all]
    #[arg(long = "service", value_name = "PATTERN", value_parser = service)]
    pub services: Vec<Pattern>,
    /// Append the block to this file instead of printing it. A new file is readable only by its owner.
    #[arg(long, value_name = "FILE")]
    pub append: Option<PathBuf>,
}

fn name(text: &str) -> Result<String, String> {
    let wrong = "must be 1 to 128 letters, digits and . _ : / @ -, begin with a letter or digit, and not be anonymous";
    if is_name(text) { Ok(text.to_owned()) } else { Err(wrong.to_owned()) }
}

fn role(text: &str) -> Result<Role, String> {
    Role::by_name(text).ok_or_else(|| format!("must be one of {}", Role::ALL.map(Role::as_str).join(", ")))
}

fn service(text: &str) -> Result<Pattern, String> {
    Pattern::new(text).ok_or_else(|| "must be 1 to 128 letters, digits and . _ : - *".to_owned())
}

/// Runs `command`. Exits with 0, or with 1 and the error on `err`.
pub fn token(command: &TokenCommand, out: &mut dyn Write, err: &mut dyn Write) -> ExitCode {
    let TokenCommand::New(args) = command;
    match args.run(out) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nothing can be reported when stderr is closed.
            let _ = writeln!(err, "create a token: {error}");
            ExitCode::from(1)
        }
    }
}

impl NewTokenArgs {
    fn run(&self, out: &mut dyn Write) -> io::Result<()> {
        let token = Token::draw()?;
        let block = self.block(&token.digest());
        // The file first: a token that was printed and is not in the file would look valid.
        match &self.append {
            Some(path) => {
                check(path)?;
                append(path, &block).map_err(|error| {
                    io::Error::new(error.kind(), format!("write {}: {error}", path.display()))
                })?;
                writeln!(out, "{}", token.expose())?;
            }
            None => write!(
                out,
                "{}\n\nThis is the token. It is not shown again. Add this block to the file in \
                 auth.tokens_file:\n\n{block}",
                token.expose()
            )?,
        }
        out.flush()
    }

    fn block(&self, digest: &Digest) -> String {
        let quoted =
            |texts: Vec<&str>| texts.iter().map(|text| format!("\"{text}\"")).collect::<Vec<_>>().join(", ");
        let roles = quoted(self.roles.iter().copied().map(Role::as_str).collect());
        let name = &self.name;
        let services = match quoted(self.services.iter().map(Pattern::as_str).collect()) {
            none if none.is_empty() => none,
            services => format!("services = [{services}]\n"),
        };
        format!("[[token]]\nname = \"{name}\"\nsha256 = \"{digest}\"\nroles = [{roles}]\n{services}")
    }
}

/// A block in an invalid file would have no effect: breakerd rejects such a file as a whole.
fn check(path: &Path) -> io::Result<()> {
    if !path.exists() {
        return Ok(());
    }
    let refused = |errors: &[Error]| {
        let message: Vec<_> = errors.iter().map(ToString::to_string).collect();
        let message = message.join("\n  ");
        io::Error::other(format!("cannot append to {}, fix these errors first:\n  {message}", path.display()))
    };
    let text = access::read(path).map_err(|error| refused(&[*error]))?;
    access::parse(&text, path).map(drop).map_err(|errors| refused(&errors))
}

/// In one write, so that a breakerd that watches the file sees the block whole.
fn append(path: &Path, block: &str) -> io::Result<()> {
    let is_new = !path.exists();
    let mut file = OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
    let block = if is_new { block.to_owned() } else { format!("\n{block}") };
    file.write_all(block.as_bytes())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn args(append: Option<PathBuf>) -> TokenCommand {
        TokenCommand::New(NewTokenArgs {
            name: "payments-api".into(),
            roles: vec![Role::Caller, Role::Reader],
            services: vec![Pattern::new("payments").unwrap(), Pattern::new("payments.*").unwrap()],
            append,
        })
    }

    fn run(command: &TokenCommand) -> String {
        let mut out = Vec::new();
        token(command, &mut out, &mut io::sink());
        String::from_utf8(out).unwrap()
    }

    fn entries(path: &Path) -> usize {
        access::parse(&access::read(path).unwrap(), path).unwrap().len()
    }

    #[test]
    fn the_token_stands_first_and_the_block_is_one_that_the_file_takes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokens.toml");
        let printed = run(&args(None));
        let (token, rest) = printed.split_once('\n').unwrap();
        let block = &rest[rest.find("[[token]]").unwrap()..];
        assert!(!block.contains(token));
        assert!(block.contains(&format!("\"{}\"", Digest::of(token.as_bytes()))), "{block}");
        assert!(block.contains("roles = [\"caller\", \"reader\"]"), "{block}");
        assert!(block.contains("services = [\"payments\", \"payments.*\"]"), "{block}");
        std::fs::write(&path, block).unwrap();
        assert_eq!(entries(&path), 1);
    }

    #[test]
    fn a_file_that_is_wrong_gets_no_block_and_nobody_a_token() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokens.toml");
        let wrong = "[[token]]\nname = \"a\"\n";
        std::fs::write(&path, wrong).unwrap();
        let (mut out, mut err) = (Vec::new(), Vec::new());
        token(&args(Some(path.clone())), &mut out, &mut err);
        let message = String::from_utf8(err).unwrap();
        assert!(out.is_empty() && message.contains("fix these errors first:\n  "), "{message}");
        assert!(message.contains("`sha256` is missing"), "{message}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), wrong);
    }

    #[test]
    fn appended_blocks_stand_one_after_the_other_in_a_file_for_its_owner() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokens.toml");
        let tokens = [run(&args(Some(path.clone()))), run(&args(Some(path.clone())))];
        assert!(tokens.iter().all(|token| token.lines().count() == 1 && token.starts_with("bk_")));
        assert_eq!(entries(&path), 2);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
