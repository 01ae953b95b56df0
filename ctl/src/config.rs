//! `config`: the thresholds of services. `config_show` shows them, `config_set` changes them.

use clap::Subcommand;

use super::connect::{CliRequest, Connection, Reach};
use super::error::{Ended, Failure};
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
    /// Everything that is wrong with what is to be set or unset.
    pub(super) fn check(&self) -> Result<(), Failure> {
        match self {
            Self::Set(asked) => asked.what.assignments().map(drop),
            Self::Unset(asked) => asked.what.fields().map(drop),
            Self::Get(_) | Self::Log(_) | Self::Watch(_) => Ok(()),
        }
    }

    /// Whether it changes anything.
    pub(super) const fn is_write(&self) -> bool {
        matches!(self, Self::Set(_) | Self::Unset(_))
    }

    pub(super) fn reach(&self) -> &Reach {
        match self {
            Self::Get(asked) => &asked.reach,
            Self::Set(asked) => &asked.reach,
            Self::Unset(asked) => &asked.reach,
            Self::Log(asked) => &asked.reach,
            Self::Watch(asked) => &asked.reach,
        }
    }
}

pub(super) async fn run(
    command: &ConfigCommand,
    connection: &Connection,
    clock: &impl Clock,
    screen: &mut Screen<'_>,
) -> Result<Ended, Failure> {
    match command {
        ConfigCommand::Get(asked) => config_show::get(&asked.what, connection, screen).await,
        ConfigCommand::Set(asked) => config_set::set(&asked.what, connection, screen).await,
        ConfigCommand::Unset(asked) => config_set::unset(&asked.what, connection, screen).await,
        ConfigCommand::Log(asked) => config_show::log(&asked.what, connection, clock, screen).await,
        ConfigCommand::Watch(asked) => watch::run_config(&asked.what, connection, clock, screen).await,
    }
}
