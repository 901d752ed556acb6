// SPDX-License-Identifier: GPL-2.0

//! `kvmi list`

use kvmi_client::attach::{self, Hooker, State};
use serde_json::{Value, json};

use crate::{
    failure::{Failure, Result},
    output::Output,
};

/// Lists the VMs of this host.
pub fn run(output: &mut Output) -> Result<()> {
    let (found, hidden) = attach::list().map_err(|error| Failure::file("/proc", &error))?;
    let vms: Vec<_> = found
        .iter()
        .map(|process| (process, process.state().unwrap_or(State::Unknown)))
        .collect();
    if output.is_json() {
        let vms: Vec<Value> = vms
            .iter()
            .map(|(process, state)| {
                json!({
                    "pid": process.pid,
                    "name": process.name,
                    "vcpus": process.vcpus,
                    "introspection": state.word(),
                    "hooker": hooker(state).map(|by| json!({
                        "pid": by.pid,
                        "comm": by.comm,
                        "uuid": by.uuid,
                    })),
                })
            })
            .collect();
        return output.value(&json!({ "vms": vms, "hidden_processes": hidden }));
    }
    if !vms.is_empty() {
        output.line("    PID  VCPUS  INTROSPECTION             NAME")?;
    }
    for (process, state) in &vms {
        output.line(format_args!(
            "{:>7}  {:>5}  {:<24}  {}",
            process.pid,
            process.vcpus,
            describe(state),
            process.name
        ))?;
    }
    if vms.is_empty() {
        output.line("No KVM virtual machine runs on this host.")?;
    }
    if hidden != 0 {
        output.line(format_args!(
            "{hidden} processes may not be looked into by this user; root sees their VMs."
        ))?;
    }
    Ok(())
}

fn hooker(state: &State) -> Option<&Hooker> {
    match state {
        State::Active(by) | State::Dead(by) | State::Frozen(by) => Some(by),
        State::None | State::Unknown => None,
    }
}

fn describe(state: &State) -> String {
    match state {
        State::None => "no".into(),
        State::Active(by) => match by.pid {
            Some(pid) => format!("by {} ({pid})", by.comm),
            None => format!("by {}", by.comm),
        },
        State::Dead(_) => "no (a tool left)".into(),
        State::Frozen(_) => "frozen (a tool died)".into(),
        State::Unknown => "not supported".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptions() {
        let by = Hooker {
            pid: Some(7),
            comm: "x".into(),
            uuid: String::new(),
        };
        assert_eq!(describe(&State::Active(by.clone())), "by x (7)");
        assert_eq!(describe(&State::None), "no");
        assert!(hooker(&State::Dead(by.clone())).is_some());
        assert_eq!(describe(&State::Frozen(by.clone())), "frozen (a tool died)");
        assert!(hooker(&State::Frozen(by)).is_some());
    }
}
