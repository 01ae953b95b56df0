//! Log lines, with the feature `tracing`: `log::info!(address = %address, "connected")`.

#[cfg(feature = "tracing")]
macro_rules! at {
    ($level:ident, $($tokens:tt)*) => { tracing::$level!(target: "breakerd_client", $($tokens)*) };
}

#[cfg(not(feature = "tracing"))]
macro_rules! at {
    ($level:ident, $($field:ident = $how:tt $value:expr,)* $text:literal) => { { $(let _ = &$value;)* } };
}

macro_rules! info {
    ($($tokens:tt)*) => { $crate::log::at!(info, $($tokens)*) };
}

macro_rules! warning {
    ($($tokens:tt)*) => { $crate::log::at!(warn, $($tokens)*) };
}

pub(crate) use {at, info, warning};
