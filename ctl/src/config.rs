//! `config`: the thresholds of services. `config_show` shows them, `config_set` changes them.

use clap::Subcommand;

use super::connect::{CliRequest, CommonOptions, Connection};
use super::error::{Completion, Failure};
use super::screen::Screen;
use super::watch::ConfigWatchArgs;
use super::{config_set, config_show, watch};
use breakerd_common::clock::Clock;

pub(super) const EXAMPLES: &str = "Examples:
  breakerd config get database
  breakerd config set database timeout_seconds=90 --reason 'slow failover'
  breakerd config unset database timeout_seconds
  breakerd config log database";

/// Thresholds.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Show the thresholds of a service, and the source of each value.
    #[command(after_help = config_show::GET_EXAMPLES)]
    Get(CliRequest<config_show::GetConfigArgs>),
    /// Set thresholds of a service. They override the config file.
    #[command(after_help = config_set::SET_EXAMPLES)]
    Set(CliRequest<config_set::SetConfigArgs>),
    /// Unset thresholds. The values of the config file apply again.
    #[command(after_help = config_set::UNSET_EXAMPLES)]
    Unset(CliRequest<config_set::UnsetConfigArgs>),
    /// List changes with actor and reason, newest first: thresholds, overrides, resets.
    #[command(after_help = config_show::LOG_EXAMPLES)]
    Log(CliRequest<config_show::LogArgs>),
    /// Follow changes of thresholds until interrupted.
    #[command(after_help = watch::CONFIG_EXAMPLES)]
    Watch(CliRequest<ConfigWatchArgs>),
}

impl ConfigCommand {
    /// Reads the fields to set or unset; the error names every invalid one.
    pub(super) fn check(&self) -> Result<(), Failure> {
        match self {
            Self::Set(request) => request.args.assignments().map(drop),
            Self::Unset(request) => request.args.fields().map(drop),
            Self::Get(_) | Self::Log(_) | Self::Watch(_) => Ok(()),
        }
    }

    /// Whether it changes anything.
    pub(super) const fn is_write(&self) -> bool {
        matches!(self, Self::Set(_) | Self::Unset(_))
    }

    pub(super) fn options(&self) -> &CommonOptions {
        match self {
            Self::Get(request) => &request.options,
            Self::Set(request) => &request.options,
            Self::Unset(request) => &request.options,
            Self::Log(request) => &request.options,
            Self::Watch(request) => &request.options,
        }
    }
}

pub(super) async fn run(
    command: &ConfigCommand,
    connection: &Connection,
    clock: &impl Clock,
    screen: &mut Screen<'_>,
) -> Result<Completion, Failure> {
    match command {
        ConfigCommand::Get(request) => config_show::get(&request.args, connection, screen).await,
        ConfigCommand::Set(request) => config_set::set(&request.args, connection, screen).await,
        ConfigCommand::Unset(request) => config_set::unset(&request.args, connection, screen).await,
        ConfigCommand::Log(request) => config_show::log(&request.args, connection, clock, screen).await,
        ConfigCommand::Watch(request) => watch::run_config(&request.args, connection, clock, screen).await,
    }
}
