//! Addresses on loopback that nobody else is given meanwhile.

use std::hash::{BuildHasher, RandomState};
use std::io::{Error, ErrorKind};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use tokio::net::TcpSocket;

/// Ports below those that a kernel hands out by itself (from 32768 on Linux, 49152 elsewhere, where nobody has set others): a process
/// that ends, and starts again on the same port, finds it free.
const FIRST_PORT: u16 = 10_000;
/// Ports of one owner: the one that says that they are taken, and two to use.
const PORTS_OF_ONE: u16 = 3;
const OWNERS_MAX: u16 = 3_000;
const TRIES_MAX: u16 = 100;

/// Two addresses for a process that is stopped and started again. Given back when this is dropped.
#[derive(Debug)]
pub struct KeptAddresses {
    /// Whoever else keeps addresses cannot have this one, and so keeps off those above it.
    _taken: TcpListener,
    first: u16,
}

impl KeptAddresses {
    /// Any two that are free.
    ///
    /// # Errors
    /// None is free.
    pub fn any() -> std::io::Result<Self> {
        let random = RandomState::new();
        (0..TRIES_MAX)
            .find_map(|attempt| {
                let place = u16::try_from(random.hash_one(attempt) % u64::from(OWNERS_MAX)).ok()?;
                Self::at(FIRST_PORT + place * PORTS_OF_ONE).ok()
            })
            .ok_or_else(|| Error::new(ErrorKind::AddrInUse, "no free ports from 10000 to 18999"))
    }

    fn at(first: u16) -> std::io::Result<Self> {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, first))?;
        for port in first + 1..first + PORTS_OF_ONE {
            TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
        }
        Ok(Self { _taken: taken, first })
    }

    /// The two.
    pub fn both(&self) -> [SocketAddr; 2] {
        [1, 2].map(|after| (Ipv4Addr::LOCALHOST, self.first + after).into())
    }
}

/// An address where nobody listens, and connections are refused, until this is dropped.
#[derive(Debug)]
pub struct Nobody {
    _bound: TcpSocket,
    address: SocketAddr,
}

impl Nobody {
    /// Takes one.
    ///
    /// # Errors
    /// No free port.
    pub fn listens() -> std::io::Result<Self> {
        let bound = TcpSocket::new_v4()?;
        bound.bind((Ipv4Addr::LOCALHOST, 0).into())?;
        let address = bound.local_addr()?;
        Ok(Self { _bound: bound, address })
    }

    /// Where.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kept_addresses_are_those_of_one_owner() {
        let one = KeptAddresses::any().unwrap();
        assert!(KeptAddresses::at(one.first).is_err(), "kept twice");
        let [first, second] = one.both();
        // Its owner may listen there, end, and listen there again.
        for _ in 0..2 {
            let _listens = (TcpListener::bind(first).unwrap(), TcpListener::bind(second).unwrap());
        }
    }

    #[tokio::test]
    async fn where_nobody_listens_connections_are_refused_and_nobody_else_can() {
        let nobody = Nobody::listens().unwrap();
        let error = tokio::net::TcpStream::connect(nobody.address()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        assert!(TcpListener::bind(nobody.address()).is_err(), "it is taken");
    }
}
