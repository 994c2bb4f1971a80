//! The form of an internet socket in the image.

use super::nftables::Ends;
use super::{groups, options, stream};
use rustix::net::AddressFamily;

/// What is particular to an internet socket.
#[derive(Clone, PartialEq, prost::Message, serde::Serialize)]
pub struct Record {
    /// Its inode number, for readers.
    #[prost(uint64, tag = "1")]
    pub inode: u64,
    /// `AF_INET` or `AF_INET6` (`SO_DOMAIN`)
    #[prost(uint32, tag = "2")]
    pub family: u32,
    /// `SOCK_STREAM`, `SOCK_DGRAM` or `SOCK_RAW` (`SO_TYPE`)
    #[prost(uint32, tag = "3")]
    pub socket_type: u32,
    /// `IPPROTO_*` (`SO_PROTOCOL`)
    #[prost(uint32, tag = "4")]
    pub protocol: u32,
    /// Who made it: sockets of one user may share a port (socket(7), `SO_REUSEPORT`).
    #[prost(uint32, tag = "5")]
    pub uid: u32,
    /// The group of who made it.
    #[prost(uint32, tag = "6")]
    pub gid: u32,
    /// The address it is bound to, if it is.
    #[prost(message, optional, tag = "7")]
    pub local: Option<Address>,
    /// The address it is connected to, if it is.
    #[prost(message, optional, tag = "8")]
    pub peer: Option<Address>,
    /// The state of TCP, as `tcpi_state` of `TCP_INFO` has it; 0 for other protocols.
    #[prost(uint32, tag = "9")]
    pub state: u32,
    /// How many connections may wait to be accepted (listen(2)).
    #[prost(uint32, tag = "10")]
    pub backlog: u32,
    /// The ways it was shut: 1 for receiving, 2 for sending (shutdown(2)).
    #[prost(uint32, tag = "11")]
    pub shut: u32,
    /// Options that differ from those of a fresh socket, in the order in which they are set.
    #[prost(message, repeated, tag = "12")]
    pub options: Vec<options::Record>,
    /// The connection, for one of TCP that has one.
    #[prost(message, optional, tag = "13")]
    pub stream: Option<stream::Stream>,
    /// The multicast groups that it is a member of.
    #[prost(message, repeated, tag = "14")]
    pub groups: Vec<groups::Membership>,
}

/// An address and a port (ip(7), ipv6(7)).
#[derive(Clone, PartialEq, Eq, Hash, prost::Message, serde::Serialize)]
pub struct Address {
    /// 4 bytes, or 16.
    #[prost(bytes = "vec", tag = "1")]
    pub ip: Vec<u8>,
    /// The port, or 0.
    #[prost(uint32, tag = "2")]
    pub port: u32,
    /// `sin6_flowinfo`, as the kernel has it.
    #[prost(uint32, tag = "3")]
    pub flowinfo: u32,
    /// `sin6_scope_id`: the interface of an address that is good on one link only.
    #[prost(uint32, tag = "4")]
    pub scope: u32,
}

const INET: u16 = AddressFamily::INET.as_raw();
const INET6: u16 = AddressFamily::INET6.as_raw();

impl Address {
    /// That of a `struct sockaddr_in` or `sockaddr_in6`; `None` for one of another family.
    pub fn of(bytes: &[u8]) -> Option<Self> {
        let (family, rest) = bytes.split_first_chunk::<2>()?;
        let (port, rest) = rest.split_first_chunk::<2>()?;
        let port = u16::from_be_bytes(*port).into();
        match u16::from_ne_bytes(*family) {
            INET => Some(Self { ip: rest.get(..4)?.to_vec(), port, flowinfo: 0, scope: 0 }),
            INET6 => {
                let (flowinfo, rest) = rest.split_first_chunk::<4>()?;
                let (ip, rest) = rest.split_first_chunk::<16>()?;
                let scope = u32::from_ne_bytes(*rest.first_chunk::<4>()?);
                let flowinfo = u32::from_ne_bytes(*flowinfo);
                Some(Self { ip: ip.to_vec(), port, flowinfo, scope })
            }
            _ => None,
        }
    }

    /// As a `struct sockaddr_in` or `sockaddr_in6`.
    pub fn to_bytes(&self) -> Vec<u8> {
        let port = (self.port as u16).to_be_bytes();
        if self.ip.len() == 4 {
            return [INET.to_ne_bytes().as_slice(), &port, &self.ip, &[0; 8]].concat();
        }
        let (flowinfo, scope) = (self.flowinfo.to_ne_bytes(), self.scope.to_ne_bytes());
        [INET6.to_ne_bytes().as_slice(), &port, &flowinfo, &self.ip, &scope].concat()
    }

    /// The IPv4 address that one of IPv6 may stand for (ipv6(7): v4-mapped), as that.
    pub fn plain(&self) -> Self {
        match self.ip.strip_prefix(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff]) {
            Some(ip) if ip.len() == 4 => Self { ip: ip.to_vec(), port: self.port, flowinfo: 0, scope: 0 },
            _ => self.clone(),
        }
    }

    /// Whether it stands for all addresses of the machine.
    pub fn is_any(&self) -> bool {
        self.ip.iter().all(|byte| *byte == 0)
    }

    /// Whether a socket of a family can have it.
    pub fn fits(&self, family: u32) -> bool {
        let len = if family == u32::from(INET) { 4 } else { 16 };
        self.ip.len() == len && self.port <= 0xffff
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (<[u8; 4]>::try_from(self.ip.as_slice()), <[u8; 16]>::try_from(self.ip.as_slice())) {
            (Ok(ip), _) => write!(f, "{}:{}", std::net::Ipv4Addr::from(ip), self.port),
            (_, Ok(ip)) => write!(f, "[{}]:{}", std::net::Ipv6Addr::from(ip), self.port),
            _ => f.write_str("?"),
        }
    }
}

impl Record {
    /// Both ends, for one that is connected.
    pub(super) fn ends(&self) -> Option<Ends> {
        Some(Ends { local: self.local.clone()?, peer: self.peer.clone()? })
    }

    /// A connection, for messages.
    pub fn title(&self) -> String {
        let show = |address: &Option<Address>| address.as_ref().map_or("?".to_owned(), Address::to_string);
        format!("{} - {}", show(&self.local), show(&self.peer))
    }

    /// What it is, for messages.
    pub fn noun(&self) -> String {
        let version = if self.family == u32::from(INET6) { "6" } else { "" };
        match self.protocol {
            super::TCP => format!("TCP{version}"),
            super::MPTCP => format!("MPTCP{version}"),
            super::UDP => format!("UDP{version}"),
            super::UDP_LITE => format!("UDP-Lite{version}"),
            protocol => format!("internet (protocol {protocol})"),
        }
    }
}
