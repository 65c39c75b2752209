//! Where an address of the network lies: out on the Internet, or somewhere only this machine can get to.
//!
//! A server on the Internet may send whoever asks it on to another place, but not to one inside: what is there is none of
//! its business.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// How far an address reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// This machine.
    Loopback,
    /// The cable, metadata services of clouds among it.
    Link,
    /// A private network, or nothing that has a server.
    Private,
    /// Everybody.
    Public,
}

impl Reach {
    pub(crate) fn of(ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(ip) => Self::of_v4(ip),
            IpAddr::V6(ip) => embedded(ip).map_or_else(|| Self::of_v6(ip), Self::of_v4),
        }
    }

    fn of_v4(ip: Ipv4Addr) -> Self {
        let [a, b, c, _] = ip.octets();
        match (a, b, c) {
            (127, ..) => Self::Loopback,
            (169, 254, _) => Self::Link,
            (0 | 10 | 224.., ..) | (172, 16..=31, _) | (192, 168, _) | (100, 64..=127, _) => Self::Private,
            (192, 0, 0 | 2) | (198, 18..=19, _) | (198, 51, 100) | (203, 0, 113) => Self::Private,
            _ => Self::Public,
        }
    }

    fn of_v6(ip: Ipv6Addr) -> Self {
        let first = ip.segments()[0];
        match first {
            _ if ip.is_loopback() => Self::Loopback,
            0xfe80..=0xfebf => Self::Link,
            // Addresses for everybody begin with the bits 001.
            0x2000..=0x3fff if (first, ip.segments()[1]) != (0x2001, 0xdb8) => Self::Public,
            _ => Self::Private,
        }
    }

    /// Whether a server that was first asked there may send on to `next`.
    pub(crate) fn may_lead_to(self, next: Self) -> bool {
        next == Self::Public || next == self
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Loopback => "this machine",
            Self::Link => "a link-local address",
            Self::Private => "a private address",
            Self::Public => "a public address",
        }
    }
}

/// The IPv4 address that an IPv6 address carries: mapped, compatible, translated, or by 6to4.
fn embedded(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    let [a, b, c, d, e, f, g, h] = ip.segments();
    let v4 = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        Ipv4Addr::new(a, b, c, d)
    };
    match (a, b, c, d, e, f) {
        (0, 0, 0, 0, 0, 0xffff) => Some(v4(g, h)),
        (0, 0, 0, 0, 0, 0) if !ip.is_loopback() => Some(v4(g, h)),
        (0x64, 0xff9b, 0, 0, 0, 0) => Some(v4(g, h)),
        (0x2002, ..) => Some(v4(b, c)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_inside_are_told_from_those_of_everybody() {
        for (ip, reach) in [
            ("127.0.0.1", Reach::Loopback),
            ("127.255.0.9", Reach::Loopback),
            ("::1", Reach::Loopback),
            ("::ffff:127.0.0.1", Reach::Loopback),
            ("169.254.169.254", Reach::Link),
            ("fe80::1", Reach::Link),
            ("64:ff9b::a9fe:a9fe", Reach::Link),
            ("10.1.2.3", Reach::Private),
            ("172.31.0.1", Reach::Private),
            ("192.168.1.1", Reach::Private),
            ("100.64.0.1", Reach::Private),
            ("0.0.0.0", Reach::Private),
            ("::", Reach::Private),
            ("255.255.255.255", Reach::Private),
            ("fd00::1", Reach::Private),
            ("ff02::1", Reach::Private),
            ("2002:0a00:0001::", Reach::Private),
            ("2001:db8::1", Reach::Private),
            ("1.1.1.1", Reach::Public),
            ("172.32.0.1", Reach::Public),
            ("2606:4700::1111", Reach::Public),
        ] {
            assert_eq!(Reach::of(ip.parse().unwrap()), reach, "{ip}");
        }
    }

    #[test]
    fn nobody_is_led_further_inside_than_where_he_asked() {
        use Reach::{Link, Loopback, Private, Public};
        for from in [Loopback, Link, Private, Public] {
            for to in [Loopback, Link, Private, Public] {
                assert_eq!(from.may_lead_to(to), to == Public || from == to);
            }
        }
    }
}
