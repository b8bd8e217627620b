//! The engine's objects as Go prints them. JSON has members; Go has structs, whose fields are printed in their order
//! and without their names, and durations. The types are told by their members.

use super::functions::print;
use crate::json::Json;

/// A field: its name in JSON, and what is printed when JSON leaves it out.
type Field = (&'static str, &'static str);

/// The types that people print whole. The first fields are in every object of the type.
const TYPES: &[(usize, &[Field])] = &[
    (2, &[("Name", ""), ("MaximumRetryCount", "0")]),
    (2, &[("HostIp", ""), ("HostPort", "")]),
    (2, &[("Type", ""), ("Config", "map[]")]),
    (2, &[("PathOnHost", ""), ("PathInContainer", ""), ("CgroupPermissions", "")]),
    (1, &[("Subnet", ""), ("IPRange", ""), ("Gateway", ""), ("AuxiliaryAddresses", "map[]")]),
    (
        1,
        &[
            ("Test", "[]"),
            ("Interval", "0s"),
            ("Timeout", "0s"),
            ("StartPeriod", "0s"),
            ("StartInterval", "0s"),
            ("Retries", "0"),
        ],
    ),
    (4, &[("Destination", ""), ("RW", "false"), ("Mode", ""), ("Source", "")]),
    (
        12,
        &[
            ("Status", ""),
            ("Running", "false"),
            ("Paused", "false"),
            ("Restarting", "false"),
            ("OOMKilled", "false"),
            ("Dead", "false"),
            ("Pid", "0"),
            ("ExitCode", "0"),
            ("Error", ""),
            ("StartedAt", ""),
            ("FinishedAt", ""),
            ("Health", "<nil>"),
        ],
    ),
];

/// A mount point's fields; Go's order is not that of [`TYPES`], which only tells that it is one.
const MOUNT: &[Field] = &[
    ("Type", ""),
    ("Name", ""),
    ("Source", ""),
    ("Destination", ""),
    ("Driver", ""),
    ("Mode", ""),
    ("RW", "false"),
    ("Propagation", ""),
];
/// Fields that are nanoseconds in JSON and durations in Go.
const DURATIONS: [&str; 4] = ["Interval", "Timeout", "StartPeriod", "StartInterval"];

/// An object as a Go struct; `None` if it is a map, or of no type known here.
pub(super) fn print_struct(members: &[(String, Json)]) -> Option<String> {
    let has = |name: &str| members.iter().any(|(key, _)| key == name);
    let fields = TYPES.iter().find_map(|(needed, fields)| {
        // A container that was never checked has no health.
        let needed = fields.iter().take(*needed).filter(|(name, _)| *name != "Health");
        needed.clone().all(|(name, _)| has(name)).then_some(*fields)
    })?;
    let fields = if fields[0].0 == "Destination" { MOUNT } else { fields };
    if members.iter().any(|(key, _)| fields.iter().all(|(name, _)| name != key)) {
        return None;
    }
    let value = |(name, zero): &Field| match members.iter().find(|(key, _)| key == name) {
        None | Some((_, Json::Null)) => (*zero).to_owned(),
        Some((_, Json::Int(nanoseconds))) if DURATIONS.contains(name) => spec::duration::format(*nanoseconds),
        Some((_, value)) => print(value),
    };
    Some(format!("{{{}}}", fields.iter().map(value).collect::<Vec<_>>().join(" ")))
}

/// Whether a map's key is that of a set: a port or a path, whose value is an empty struct.
pub(super) fn is_set_key(key: &str) -> bool {
    let port = key.split_once('/').is_some_and(|(port, _)| port.parse::<u16>().is_ok());
    port || key.starts_with('/')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn structs_are_printed_as_go_prints_them() {
        for (json, text) in [
            (r#"{"Name":"always","MaximumRetryCount":0}"#, "{always 0}"),
            (
                r#"{"80/tcp":[{"HostIp":"","HostPort":"18080"}],"81/udp":null}"#,
                "map[80/tcp:[{ 18080}] 81/udp:[]]",
            ),
            (r#"{"80/tcp":{},"/v":{}}"#, "map[/v:{} 80/tcp:{}]"),
            (r#"{"Type":"json-file","Config":{}}"#, "{json-file map[]}"),
            (r#"[{"Subnet":"172.18.0.0/16","Gateway":"172.18.0.1"}]"#, "[{172.18.0.0/16  172.18.0.1 map[]}]"),
            (r#"{"Test":["CMD-SHELL","true"],"Interval":1000000000}"#, "{[CMD-SHELL true] 1s 0s 0s 0s 0}"),
            (
                r#"{"Type":"bind","Source":"/a","Destination":"/b","Mode":"ro","RW":false,"Propagation":"rprivate"}"#,
                "{bind  /a /b  ro false rprivate}",
            ),
            (
                r#"{"Status":"exited","Running":false,"Paused":false,"Restarting":false,"OOMKilled":false,"Dead":false,"Pid":0,"ExitCode":3,"Error":"","StartedAt":"a","FinishedAt":"b"}"#,
                "{exited false false false false false 0 3  a b <nil>}",
            ),
            (r#"{"Name":"x"}"#, "map[Name:x]"),
        ] {
            assert_eq!(print(&Json::parse(json.as_bytes()).unwrap()), text, "{json}");
        }
    }
}
