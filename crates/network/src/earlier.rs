//! Records of earlier versions become today's. Pure. What was added later has its default where the record is declared; here is
//! what has become something else.

use serde_json::{Value, json};

/// Before there was IPv6, a network had one subnet and a bridge.
pub(crate) fn network(mut record: Value) -> Value {
    if let Some(fields) = record.as_object_mut()
        && let Some(bridge) = fields.remove("bridge")
    {
        let [subnet, part] = ["subnet", "ip_range"].map(|name| cidr(fields.remove(name)));
        let gateway = fields.remove("gateway");
        let range = json!({ "subnet": subnet, "range": part, "gateway": gateway });
        let ranges = if subnet.is_null() { json!([]) } else { json!([range]) };
        fields.insert("owns_interface".into(), json!(bridge != ""));
        fields.insert("interface".into(), bridge);
        fields.insert("ranges".into(), ranges);
        fields.insert("v4".into(), json!(true));
        fields.insert("v6".into(), json!(false));
    }
    record
}

/// Before there was IPv6, an endpoint had one address.
pub(crate) fn container(mut record: Value) -> Value {
    let endpoints = record.get_mut("endpoints").and_then(Value::as_array_mut);
    for fields in endpoints.into_iter().flatten().filter_map(Value::as_object_mut) {
        if let Some(ip) = fields.remove("ip") {
            let [prefix, gateway] = ["prefix", "gateway"].map(|name| fields.remove(name));
            fields.insert("v4".into(), json!({ "ip": ip, "prefix": prefix, "gateway": gateway }));
            fields.insert("v6".into(), Value::Null);
        }
    }
    record
}

/// `["10.1.0.0", 16]` was what is `"10.1.0.0/16"` now.
fn cidr(pair: Option<Value>) -> Value {
    let text = |pair: &Value| Some(json!(format!("{}/{}", pair.get(0)?.as_str()?, pair.get(1)?)));
    pair.as_ref().and_then(text).unwrap_or_default()
}
