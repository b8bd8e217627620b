//! `--mount type=…,source=…,target=…`.

use spec::api::{BindOptions, Mount, TmpfsOptions, VolumeDriverConfig, VolumeOptions};

use super::{csv, key_value};
use crate::units;

/// Reads one mount. Relative sources of binds are taken from `current`.
pub(crate) fn parse(text: &str, current: &std::path::Path) -> Result<Mount, String> {
    let mut mount = Mount { r#type: "volume".into(), ..Mount::default() };
    for field in csv(text)? {
        let (key, value) = match field.split_once('=') {
            None => (field.trim().to_ascii_lowercase(), None),
            Some(_) => {
                let (key, value) = key_value(&field)?;
                (key, Some(value))
            }
        };
        if value.is_some_and(|value| value != value.trim()) || field != field.trim() {
            return Err(format!("invalid option '{field}' in '{text}': option should not have whitespace"));
        }
        set(&mut mount, &key, value, &field)?;
    }
    if mount.r#type.is_empty() {
        return Err("type is required".into());
    }
    if mount.target.is_empty() {
        return Err("target is required".into());
    }
    for (present, wanted) in [
        (mount.bind_options.is_some(), "bind"),
        (mount.volume_options.is_some(), "volume"),
        (mount.image_options.is_some(), "image"),
        (mount.tmpfs_options.is_some(), "tmpfs"),
    ] {
        if present && mount.r#type != wanted {
            return Err(format!("cannot mix '{wanted}-*' options with mount type '{}'", mount.r#type));
        }
    }
    if let Some(options) = &mount.bind_options {
        for (set, name) in
            [(options.read_only_non_recursive, "writable"), (options.read_only_force_recursive, "readonly")]
        {
            if set && !mount.read_only {
                return Err(format!(
                    "option 'bind-recursive={name}' requires 'readonly' to be specified in conjunction"
                ));
            }
        }
        if options.read_only_force_recursive && options.propagation != "rprivate" {
            return Err(
                "option 'bind-recursive=readonly' requires 'bind-propagation=rprivate' to be specified in \
                        conjunction"
                    .into(),
            );
        }
    }
    if mount.r#type == "bind" && mount.source.starts_with('.') {
        mount.source = crate::path::clean(&current.join(&mount.source).to_string_lossy());
    }
    Ok(mount)
}

fn set(mount: &mut Mount, key: &str, value: Option<&str>, field: &str) -> Result<(), String> {
    let boolean = || match value {
        None | Some("" | "1" | "true" | "TRUE" | "True" | "t" | "T") => Ok(true),
        Some("0" | "false" | "FALSE" | "False" | "f" | "F") => Ok(false),
        Some(value) => Err(format!("invalid value for {key}: {value}")),
    };
    let text = || value.map(str::to_owned).ok_or(format!("invalid field '{field}' must be a key=value pair"));
    match key {
        "type" => mount.r#type = text()?.to_ascii_lowercase(),
        "source" | "src" => mount.source = text()?,
        "target" | "dst" | "destination" => mount.target = text()?,
        "readonly" | "ro" => mount.read_only = boolean()?,
        "consistency" => mount.consistency = text()?.to_ascii_lowercase(),
        "bind-propagation" => bind(mount).propagation = text()?.to_ascii_lowercase(),
        "bind-create-src" | "create-mountpoint" => bind(mount).create_mountpoint = boolean()?,
        "bind-nonrecursive" => {
            return Err("bind-nonrecursive is deprecated, use bind-recursive=disabled instead".into());
        }
        "bind-recursive" => match text()?.as_str() {
            "enabled" => {}
            "disabled" => bind(mount).non_recursive = true,
            "writable" => bind(mount).read_only_non_recursive = true,
            "readonly" => bind(mount).read_only_force_recursive = true,
            other => {
                return Err(format!(
                    "invalid value for {key}: {other} (must be \"enabled\", \"disabled\", \"writable\", or \
                     \"readonly\")"
                ));
            }
        },
        // Corten's own. A tmpfs has no owner but the container's.
        "idmap" => match value {
            None | Some("match-user") if mount.r#type == "bind" => bind(mount).match_user = true,
            None | Some("match-user") => volume(mount).match_user = true,
            Some(value) => return Err(format!("invalid value for {key}: {value} (must be \"match-user\")")),
        },
        "volume-subpath" => volume(mount).subpath = text()?,
        "volume-nocopy" => volume(mount).no_copy = boolean()?,
        "volume-label" => {
            let (label, value) = pair(&text()?);
            volume(mount).labels.insert(label, value);
        }
        "volume-driver" => driver(mount).name = text()?,
        "volume-opt" => {
            let (option, value) = pair(&text()?);
            driver(mount).options.insert(option, value);
        }
        "image-subpath" => mount.image_options.get_or_insert_default().subpath = text()?,
        "tmpfs-size" => {
            let size = text()?;
            tmpfs(mount).size_bytes =
                units::parse_bytes(&size).map_err(|_| format!("invalid value for {key}: {size}"))?;
        }
        "tmpfs-mode" => {
            let mode = text()?;
            tmpfs(mount).mode =
                i64::from_str_radix(&mode, 8).map_err(|_| format!("invalid value for {key}: {mode}"))?;
        }
        _ if value.is_none() => return Err(format!("invalid field '{field}' must be a key=value pair")),
        _ => return Err(format!("unexpected key '{key}' in '{field}'")),
    }
    Ok(())
}

fn bind(mount: &mut Mount) -> &mut BindOptions {
    mount.bind_options.get_or_insert_default()
}

fn volume(mount: &mut Mount) -> &mut VolumeOptions {
    mount.volume_options.get_or_insert_default()
}

fn driver(mount: &mut Mount) -> &mut VolumeDriverConfig {
    volume(mount).driver_config.get_or_insert_default()
}

fn tmpfs(mount: &mut Mount) -> &mut TmpfsOptions {
    mount.tmpfs_options.get_or_insert_default()
}

fn pair(text: &str) -> (String, String) {
    let (key, value) = text.split_once('=').unwrap_or((text, ""));
    (key.to_owned(), value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> Result<String, String> {
        parse(text, "/here".as_ref()).map(|mount| serde_json::to_string(&mount).unwrap())
    }

    #[test]
    fn mounts() {
        for (text, wanted) in [
            (
                "type=bind,src=/a,dst=/b,ro,bind-propagation=rslave",
                r#"{"Target":"/b","Source":"/a","Type":"bind","ReadOnly":true,"BindOptions":{"Propagation":"rslave"}}"#,
            ),
            ("type=bind,source=./x,target=/b", r#"{"Target":"/b","Source":"/here/x","Type":"bind"}"#),
            ("src=v,dst=/b", r#"{"Target":"/b","Source":"v","Type":"volume"}"#),
            (
                r#"type=volume,dst=/b,volume-nocopy,"volume-opt=o=a,b",volume-driver=local"#,
                r#"{"Target":"/b","Type":"volume","VolumeOptions":{"NoCopy":true,"Labels":{},"DriverConfig":{"Name":"local","Options":{"o":"a,b"}}}}"#,
            ),
            (
                "type=tmpfs,dst=/t,tmpfs-size=64m,tmpfs-mode=1777,readonly=false",
                r#"{"Target":"/t","Type":"tmpfs","TmpfsOptions":{"SizeBytes":67108864,"Mode":1023,"Options":[]}}"#,
            ),
        ] {
            assert_eq!(json(text).unwrap_or_else(|e| panic!("{text}: {e}")), wanted);
        }
        for bad in [
            "type=bind,src=/a",
            "type=bind,src=/a,dst=/b,bind-recursive=readonly",
            "type=bind,dst=/b,tmpfs-size=1m",
            "dst=/b,foo=1",
            "type=bind, src=/a,dst=/b",
        ] {
            assert!(json(bad).is_err(), "{bad}");
        }
    }
}
