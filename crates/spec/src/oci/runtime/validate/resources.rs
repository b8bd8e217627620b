//! Limits.

use super::{Outcome, fail, number_list};
use crate::oci::runtime::{BlockIo, Cpu, DeviceRule, Memory, Resources};

impl Resources {
    /// Checks limits by themselves, as an update has them.
    ///
    /// # Errors
    /// The first member that is wrong.
    pub fn validate(&self) -> Outcome {
        validate(self, "resources")
    }
}

pub(super) fn validate(resources: &Resources, at: &str) -> Outcome {
    for (index, rule) in resources.devices.iter().enumerate() {
        device_rule(rule, &format!("{at}.devices[{index}]"))?;
    }
    if let Some(limits) = &resources.memory {
        memory(limits, &format!("{at}.memory"))?;
    }
    if let Some(limits) = &resources.cpu {
        cpu(limits, &format!("{at}.cpu"))?;
    }
    if let Some(io) = &resources.block_io {
        block_io(io, &format!("{at}.blockIO"))?;
    }
    for (index, limit) in resources.hugepage_limits.iter().enumerate() {
        let digits = limit.page_size.trim_end_matches("KB").trim_end_matches("MB").trim_end_matches("GB");
        let unit = &limit.page_size[digits.len()..];
        let number =
            digits.bytes().all(|b| b.is_ascii_digit()) && !digits.is_empty() && !digits.starts_with('0');
        if !number || !matches!(unit, "KB" | "MB" | "GB") {
            let field = format!("{at}.hugepageLimits[{index}].pageSize");
            return fail(field, format!("{:?} is no size such as 2MB", limit.page_size));
        }
    }
    for file in resources.unified.keys() {
        if file.contains('/') || !file.contains('.') || file.starts_with("cgroup.") {
            return fail(format!("{at}.unified.{file}"), "is not the name of a controller's file");
        }
    }
    Ok(())
}

fn device_rule(rule: &DeviceRule, at: &str) -> Outcome {
    if !matches!(rule.r#type.as_str(), "" | "a" | "b" | "c" | "u" | "p") {
        return fail(format!("{at}.type"), format!("unknown type {:?}: one of a, b, c", rule.r#type));
    }
    if rule.access.chars().any(|letter| !"rwm".contains(letter)) {
        return fail(format!("{at}.access"), format!("{:?}: some of r, w and m", rule.access));
    }
    for (field, number) in [("major", rule.major), ("minor", rule.minor)] {
        // -1 is any, as in Docker's rules.
        if number.is_some_and(|number| number != -1 && u32::try_from(number).is_err()) {
            return fail(format!("{at}.{field}"), "is out of range");
        }
    }
    Ok(())
}

fn memory(memory: &Memory, at: &str) -> Outcome {
    let limits = [
        ("limit", memory.limit),
        ("reservation", memory.reservation),
        ("swap", memory.swap),
        ("kernel", memory.kernel),
        ("kernelTCP", memory.kernel_tcp),
    ];
    for (field, limit) in limits {
        if limit.is_some_and(|limit| limit < -1) {
            return fail(format!("{at}.{field}"), "is below -1, which is unlimited");
        }
    }
    if let Some(swappiness) = memory.swappiness.filter(|swappiness| *swappiness > 100) {
        return fail(format!("{at}.swappiness"), format!("{swappiness} is not within 0 and 100"));
    }
    if let (Some(limit), Some(swap)) = (memory.limit, memory.swap)
        && swap > 0
        && (limit == -1 || swap < limit)
    {
        return fail(format!("{at}.swap"), "memory and swap together must be at least the memory limit");
    }
    Ok(())
}

fn cpu(cpu: &Cpu, at: &str) -> Outcome {
    for (field, list) in [("cpus", &cpu.cpus), ("mems", &cpu.mems)] {
        if !list.is_empty() {
            number_list(list).or_else(|reason| fail(format!("{at}.{field}"), reason))?;
        }
    }
    if cpu.idle.is_some_and(|idle| !matches!(idle, 0 | 1)) {
        return fail(format!("{at}.idle"), "is neither 0 nor 1");
    }
    if cpu.quota.is_some_and(|quota| quota < -1) {
        return fail(format!("{at}.quota"), "is below -1, which is unlimited");
    }
    Ok(())
}

fn block_io(io: &BlockIo, at: &str) -> Outcome {
    let weights = [("weight", io.weight), ("leafWeight", io.leaf_weight)].map(|(f, w)| (f.to_owned(), w));
    let devices = io.weight_device.iter().enumerate().flat_map(|(index, device)| {
        [("weight", device.weight), ("leafWeight", device.leaf_weight)]
            .map(|(field, weight)| (format!("weightDevice[{index}].{field}"), weight))
    });
    for (field, weight) in weights.into_iter().chain(devices) {
        // 0 is not set.
        if weight.is_some_and(|weight| weight != 0 && !(10..=1000).contains(&weight)) {
            return fail(format!("{at}.{field}"), "is not within 10 and 1000");
        }
    }
    let throttled = [
        ("throttleReadBpsDevice", &io.throttle_read_bps_device),
        ("throttleWriteBpsDevice", &io.throttle_write_bps_device),
        ("throttleReadIOPSDevice", &io.throttle_read_iops_device),
        ("throttleWriteIOPSDevice", &io.throttle_write_iops_device),
    ];
    for (field, devices) in throttled {
        for (index, device) in devices.iter().enumerate() {
            if u32::try_from(device.major).is_err() || u32::try_from(device.minor).is_err() {
                return fail(format!("{at}.{field}[{index}].major"), "the number is out of range");
            }
        }
    }
    Ok(())
}
