//! Connections that the kernel tracks (`linux/netfilter/nfnetlink_conntrack.h`).

use rustix::io::Errno;

use super::{Attributes, Batch, Family, NLM_F_ACK, NLM_F_DUMP, Socket};
use crate::Result;

const SUBSYSTEM: u16 = 1 << 8;
const NEW: u16 = SUBSYSTEM;
const GET: u16 = SUBSYSTEM | 1;
const DELETE: u16 = SUBSYSTEM | 2;

const CTA_TUPLE_ORIG: u16 = 1;
const CTA_TUPLE_PROTO: u16 = 2;
const CTA_PROTO_NUM: u16 = 1;
const CTA_PROTO_DST_PORT: u16 = 3;
const CTA_FILTER: u16 = 25;
const CTA_FILTER_ORIG_FLAGS: u16 = 1;
const CTA_FILTER_REPLY_FLAGS: u16 = 2;
/// Compare the protocol's number and the destination's port.
const FILTER_PROTOCOL_AND_PORT: u32 = 1 << 3 | 1 << 5;

/// `struct nfgenmsg` of IPv4 and IPv6.
const HEADERS: [[u8; 4]; 2] = [[2, 0, 0, 0], [10, 0, 0, 0]];

/// Makes the kernel forget all connections that were opened to a port, so that their next packets are looked at anew.
/// The protocol is UDP, mostly: its "connections" last as long as someone goes on sending.
///
/// # Errors
/// ctnetlink's: EINVAL where the kernel cannot track connections.
pub fn forget(socket: &mut Socket, protocol: u8, port: u16) -> Result<()> {
    debug_assert_eq!(socket.family, Family::Netfilter);
    HEADERS.iter().try_for_each(|header| forget_of(socket, header, protocol, port))
}

/// The same, of one family.
fn forget_of(socket: &mut Socket, header: &[u8; 4], protocol: u8, port: u16) -> Result<()> {
    let mut query = Batch::default();
    query.push(("list connections", &port.to_string()), (GET, NLM_F_DUMP), header, |w| {
        w.nest(CTA_TUPLE_ORIG, |w| {
            w.nest(CTA_TUPLE_PROTO, |w| {
                w.bytes(CTA_PROTO_NUM, &[protocol]);
                w.bytes(CTA_PROTO_DST_PORT, &port.to_be_bytes());
            });
        });
        w.nest(CTA_FILTER, |w| {
            w.u32(CTA_FILTER_ORIG_FLAGS, FILTER_PROTOCOL_AND_PORT);
            w.u32(CTA_FILTER_REPLY_FLAGS, 0);
        });
    });
    let mut tuples = Vec::new();
    socket.query(&query, |kind, payload| {
        let tuple =
            Attributes(payload.get(4..).unwrap_or_default()).find(|(kind, _)| *kind == CTA_TUPLE_ORIG);
        if kind == NEW
            && let Some((_, tuple)) = tuple
            && is_to(tuple, protocol, port)
        {
            tuples.push(tuple.to_vec());
        }
    })?;
    for tuples in tuples.chunks(100) {
        let mut batch = Batch::default();
        for tuple in tuples {
            batch.push(("forget connection", &port.to_string()), (DELETE, NLM_F_ACK), header, |w| {
                w.nest(CTA_TUPLE_ORIG, |w| w.raw(tuple));
            });
            // It has ended by itself meanwhile.
            batch.tolerate(Errno::NOENT);
        }
        socket.run(&batch)?;
    }
    Ok(())
}

/// What the filter says once more, because kernels before 5.8 know no filter and list all.
fn is_to(tuple: &[u8], protocol: u8, port: u16) -> bool {
    let Some((_, part)) = Attributes(tuple).find(|(kind, _)| *kind == CTA_TUPLE_PROTO) else { return false };
    let is = |wanted: u16, value: &[u8]| Attributes(part).any(|(kind, v)| kind == wanted && v == value);
    is(CTA_PROTO_NUM, &[protocol]) && is(CTA_PROTO_DST_PORT, &port.to_be_bytes())
}
