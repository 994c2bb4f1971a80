//! A FIN, or a datagram, put before a socket of this machine as if another had sent it (raw(7), ip(7), ipv6(7): the sender
//! makes the header). It goes through the loopback device and to nobody else.

use super::nftables::Ends;
use super::record::Address;
use rekindle_sys::Errno;
use rustix::net::{
    AddressFamily, Protocol, SendFlags, SocketAddrV4, SocketAddrV6, SocketFlags, SocketType, sendto,
    socket_with,
};

/// The numbers of a segment (RFC 9293, section 3.1).
#[derive(Clone, Copy, Debug)]
pub(super) struct Numbers {
    /// That of the FIN.
    pub sequence: u32,
    /// The next byte expected from us.
    pub acknowledged: u32,
    /// The window, scaled as agreed on.
    pub window: u16,
}

const TCP: u8 = 6;

/// Sends the FIN of the other end of a connection to our end. Needs `CAP_NET_RAW`.
pub(super) fn end(connection: &Ends, numbers: Numbers) -> Result<(), Errno> {
    let (local, peer) = (connection.local.plain(), connection.peer.plain());
    let segment = segment(&peer.ip, &local.ip, (peer.port, local.port), numbers);
    transmit(&peer, &local, TCP, &segment)
}

/// Sends a datagram of UDP or UDP-Lite to a socket of this machine, as if it came from `from`. Needs `CAP_NET_RAW`.
pub(super) fn datagram(from: &Address, to: &Address, protocol: u8, payload: &[u8]) -> Result<(), Errno> {
    const HEADER: usize = 8;
    let (from, to) = (from.plain(), to.plain());
    let len = u16::try_from(HEADER + payload.len()).map_err(|_| Errno::MSGSIZE)?;
    let mut datagram = Vec::with_capacity(HEADER + payload.len());
    datagram.extend((from.port as u16).to_be_bytes());
    datagram.extend((to.port as u16).to_be_bytes());
    datagram.extend(len.to_be_bytes());
    datagram.extend([0; 2]);
    datagram.extend(payload);
    // A checksum of 0 would mean that there is none (RFC 768).
    let sum = match sum_up(&from.ip, &to.ip, protocol, &datagram) {
        0 => 0xffff,
        sum => sum,
    };
    datagram[6..8].copy_from_slice(&sum.to_be_bytes());
    transmit(&from, &to, protocol, &datagram)
}

/// Puts a header before what a packet carries, and sends it.
fn transmit(from: &Address, to: &Address, protocol: u8, content: &[u8]) -> Result<(), Errno> {
    let raw = rustix::net::RawProtocol::new(255).map(Protocol::from_raw); // IPPROTO_RAW
    let make = |family| socket_with(family, SocketType::RAW, SocketFlags::CLOEXEC, raw);
    if let (Ok(target), Ok(source)) =
        (<[u8; 4]>::try_from(to.ip.as_slice()), <[u8; 4]>::try_from(from.ip.as_slice()))
    {
        // Length, identification and checksum are filled in by the kernel.
        let mut packet = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, protocol, 0, 0];
        packet.extend([source, target].concat());
        packet.extend(content);
        let target = SocketAddrV4::new(target.into(), 0);
        sendto(make(AddressFamily::INET)?, &packet, SendFlags::empty(), &target)?;
    } else if let (Ok(target), Ok(source)) =
        (<[u8; 16]>::try_from(to.ip.as_slice()), <[u8; 16]>::try_from(from.ip.as_slice()))
    {
        let mut packet = vec![0x60, 0, 0, 0];
        packet.extend((content.len() as u16).to_be_bytes());
        packet.extend([protocol, 64]);
        packet.extend([source, target].concat());
        packet.extend(content);
        let target = SocketAddrV6::new(target.into(), 0, 0, to.scope);
        sendto(make(AddressFamily::INET6)?, &packet, SendFlags::empty(), &target)?;
    }
    Ok(())
}

/// A segment without data that ends a stream.
fn segment(from: &[u8], to: &[u8], ports: (u32, u32), numbers: Numbers) -> Vec<u8> {
    const FIN_ACK: u8 = 0x11;
    let mut segment = Vec::with_capacity(20);
    segment.extend((ports.0 as u16).to_be_bytes());
    segment.extend((ports.1 as u16).to_be_bytes());
    segment.extend(numbers.sequence.to_be_bytes());
    segment.extend(numbers.acknowledged.to_be_bytes());
    segment.extend([5 << 4, FIN_ACK]); // five words of header
    segment.extend(numbers.window.to_be_bytes());
    segment.extend([0; 4]);
    let sum = sum_up(from, to, TCP, &segment);
    segment[16..18].copy_from_slice(&sum.to_be_bytes());
    segment
}

/// The checksum of what a packet carries. Both addresses, the protocol and the length are summed up, too (RFC 9293, RFC
/// 8200 section 8.1).
fn sum_up(from: &[u8], to: &[u8], protocol: u8, content: &[u8]) -> u16 {
    let around = [from, to, &[0, protocol], &(content.len() as u16).to_be_bytes()].concat();
    checksum(&[&around, content].concat())
}

/// The Internet checksum (RFC 1071).
fn checksum(bytes: &[u8]) -> u16 {
    let words =
        bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | pair.get(1).map_or(0, |low| u32::from(*low)));
    let sum: u32 = words.sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    !((folded & 0xffff) + (folded >> 16)) as u16
}

#[cfg(test)]
mod tests {
    /// The example of RFC 1071, section 3.
    #[test]
    fn checksum_is_that_of_the_standard() {
        assert_eq!(super::checksum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), !0xddf2);
    }
}
