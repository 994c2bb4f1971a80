//! A FIN put before a socket of this machine as if its other end had sent it (raw(7), ip(7), ipv6(7): the sender makes the
//! header). It goes through the loopback device and to nobody else.

use super::nftables::Ends;
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
    let raw = rustix::net::RawProtocol::new(255).map(Protocol::from_raw); // IPPROTO_RAW
    let make = |family| socket_with(family, SocketType::RAW, SocketFlags::CLOEXEC, raw);
    if let (Ok(to), Ok(from)) =
        (<[u8; 4]>::try_from(local.ip.as_slice()), <[u8; 4]>::try_from(peer.ip.as_slice()))
    {
        // Length, identification and checksum are filled in by the kernel.
        let mut packet = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, TCP, 0, 0];
        packet.extend([from, to].concat());
        packet.extend(segment);
        let to = SocketAddrV4::new(to.into(), 0);
        sendto(make(AddressFamily::INET)?, &packet, SendFlags::empty(), &to)?;
    } else if let (Ok(to), Ok(from)) =
        (<[u8; 16]>::try_from(local.ip.as_slice()), <[u8; 16]>::try_from(peer.ip.as_slice()))
    {
        let mut packet = vec![0x60, 0, 0, 0];
        packet.extend((segment.len() as u16).to_be_bytes());
        packet.extend([TCP, 64]);
        packet.extend([from, to].concat());
        packet.extend(segment);
        let to = SocketAddrV6::new(to.into(), 0, 0, local.scope);
        sendto(make(AddressFamily::INET6)?, &packet, SendFlags::empty(), &to)?;
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
    // Both addresses, the protocol and the length are summed up, too (RFC 9293, RFC 8200 section 8.1).
    let around = [from, to, &[0, TCP], &(segment.len() as u16).to_be_bytes()].concat();
    let sum = checksum(&[around, segment.clone()].concat());
    segment[16..18].copy_from_slice(&sum.to_be_bytes());
    segment
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
