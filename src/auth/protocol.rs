//! The protocols that clients speak to breakerd.

/// A protocol, each with a listener of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// gRPC, over HTTP/2.
    Grpc,
    /// HTTP/1.1: metrics and health.
    Http,
}

impl Protocol {
    /// Both of them.
    pub const ALL: [Self; 2] = [Self::Grpc, Self::Http];

    /// As logs and metrics name it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Grpc => "grpc",
            Self::Http => "http",
        }
    }

    /// As ALPN names it.
    pub(super) const fn alpn(self) -> &'static [u8] {
        match self {
            Self::Grpc => b"h2",
            Self::Http => b"http/1.1",
        }
    }
}
