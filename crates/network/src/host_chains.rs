//! The chains of others on this host that drop what they do not know.
//!
//! A packet that is routed goes through every base chain, ours and those of others, and must be accepted by all. Some
//! make it their policy to drop it (ufw, Docker, many administrators). Our table decides about every packet from and to
//! our bridges; so at the end of such a chain, where only the policy is left, two rules for each bridge let them pass.
//! What a rule of that chain drops stays dropped.

use sys::netlink::Socket;
use sys::netlink::nft::{self, BaseChain, Expression as E, Key, Rule, TableFamily, Transaction};

use crate::firewall::Firewall;

/// What we have to do with them.
#[derive(Debug)]
pub(crate) struct HostChains {
    /// Our own table, and by it our rules' comments.
    table: String,
}

impl HostChains {
    pub(crate) fn new(table: &str) -> Self {
        Self { table: table.to_owned() }
    }

    /// Makes the rules that there should be for these bridges, and removes those of others. One at a time: what is there is
    /// looked at, and then completed.
    pub(crate) fn allow(&self, firewall: &Firewall, bridges: &[String]) -> sys::Result<()> {
        firewall.with_socket(|socket| {
            for chain in nft::forward_chains(socket)? {
                if chain.table != self.table || chain.family != TableFamily::Inet {
                    self.settle(socket, &chain, if chain.drops { bridges } else { &[] })?;
                }
            }
            Ok(())
        })
    }

    fn settle(&self, socket: &mut Socket, chain: &BaseChain, bridges: &[String]) -> sys::Result<()> {
        let rules = nft::rules(socket, chain)?;
        let of_ours: Vec<&Rule> = rules.iter().filter(|r| r.comment.starts_with(&self.comment(""))).collect();
        // At the end, in order, and nothing else: whoever has added rules behind them is asked first, too.
        let wanted: Vec<String> = bridges.iter().flat_map(|b| [self.comment(b), self.comment(b)]).collect();
        let last = rules.iter().rev().take(of_ours.len()).rev();
        if last.map(|r| &r.comment).eq(&wanted) && of_ours.len() == wanted.len() {
            return Ok(());
        }
        let mut t = Transaction::new(chain.family, &chain.table);
        of_ours.iter().for_each(|rule| t.delete_rule(&chain.name, rule.handle));
        for bridge in bridges {
            for interface in [E::InputInterface(0), E::OutputInterface(0)] {
                // As iptables writes and reads it: with the NUL, and counted.
                let named = E::Equal(0, Key::new().interface(bridge).build());
                t.add_rule(&chain.name, &[interface, named, E::Counter, E::Accept], &self.comment(bridge));
            }
        }
        t.commit(socket)
    }

    fn comment(&self, bridge: &str) -> String {
        format!("{}: {bridge}", self.table)
    }
}
