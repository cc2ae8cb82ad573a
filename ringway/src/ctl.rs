//! `ringway ctl`: looks at a running gateway by its admin API, and changes it by hand, for a while.

mod admin;
mod tables;
mod write;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ringway_config::edit::Edit;
use ringway_config::model::{Abort, Fault, ValueMatch};
use ringway_config::units::{self, Problem, duration_text};
use serde_json::{Map, Value, json};

use crate::cli::ctl::{At, Clear, Command, Ctl, Fault as FaultCommand, FaultStart, Order, Split};
use crate::end::{Code, Ended, Failure, print};
use crate::explain::header;
use admin::Admin;

/// See the module.
pub fn ctl(args: &Ctl) -> Ended {
    let at = &args.at;
    match &args.command {
        Command::Services(shown) => show(at, "/services", shown.json, |value| tables::services(&list(value))),
        Command::Endpoints { service: None, shown } => {
            show(at, "/services", shown.json, |value| tables::endpoints(&list(value)))
        }
        Command::Endpoints { service: Some(name), shown } => {
            let path = format!("/services/{name}");
            show(at, &path, shown.json, |value| tables::endpoints(std::slice::from_ref(value)))
        }
        Command::Eject(order) => stand(at, "eject", order),
        Command::Drain(order) => stand(at, "drain", order),
        Command::Pin(order) => stand(at, "pin", order),
        Command::Split(split) => shift(at, split),
        Command::Fault(FaultCommand::Start(start)) => start_fault(at, start),
        Command::Fault(FaultCommand::Stop { route, write: true }) => {
            write::write(at, route, &Edit::EndFaults(now_s()))
        }
        Command::Fault(FaultCommand::Stop { route, write: false }) => {
            let is_meant = |one: &Value| one["kind"] == "fault" && one["route"] == **route;
            let none = format!(
                "route {route} has no fault that was started by hand; those in the file end with --write -c FILE"
            );
            end_those(at, is_meant, &none)
        }
        Command::Clear(clear) => end(at, clear),
        Command::Drift(shown) => {
            let value = Admin::find(at)?.get("/config/drift")?;
            let text = if shown.json { format!("{value:#}\n") } else { tables::drift(&value) };
            print(&text)?;
            // What differs is the output; there is nothing to add to it.
            if value["drift"] == true { Err(Failure::new(Code::CheckFailed, "")) } else { Ok(()) }
        }
    }
}

fn show(at: &At, path: &str, as_json: bool, table: impl Fn(&Value) -> String) -> Ended {
    if path.bytes().any(|byte| byte <= b' ' || byte == 0x7f || b"?#%".contains(&byte)) {
        return Err(Failure::new(Code::Usage, "that is no name of a service"));
    }
    let value = Admin::find(at)?.get(path)?;
    if as_json { print(&format!("{value:#}\n")) } else { print(&table(&value)) }
}

fn list(value: &Value) -> Vec<Value> {
    value["services"].as_array().cloned().unwrap_or_default()
}

fn stand(at: &At, order: &str, args: &Order) -> Ended {
    let Some(how_long) = args.how_long.filter(|_| !args.write) else {
        let message = "a file says which endpoints there are, not how they stand\n  \
                       Say for how long with --for, or take the endpoint out of the service's `endpoints`";
        return Err(Failure::new(Code::Usage, message));
    };
    let body = json!({ "service": args.service, "endpoint": args.endpoint, "order": order });
    change(at, "endpoint", body, how_long)
}

fn shift(at: &At, args: &Split) -> Ended {
    let Some(how_long) = args.how_long.filter(|_| !args.write) else {
        return write::write(at, &args.route, &Edit::Weights(args.weights.clone()));
    };
    let entry = |(service, weight): &(String, u32)| json!({ "service": service, "weight": weight });
    let weights: Value = args.weights.iter().map(entry).collect();
    change(at, "split", json!({ "route": args.route, "weights": weights }), how_long)
}

fn start_fault(at: &At, args: &FaultStart) -> Ended {
    let fault = fault(args)?;
    if args.write {
        return write::write(at, &args.route, &Edit::AddFault(fault));
    }
    let mut body = Map::new();
    body.insert("route".into(), json!(args.route));
    if let Some(delay) = fault.delay {
        body.insert("delay".into(), json!(duration_text(delay)));
    }
    if let Some(abort) = fault.abort {
        body.insert("abort".into(), json!(abort.text()));
    }
    body.insert("share".into(), json!(units::share_text(fault.share)));
    let pair = |one: &ValueMatch| (one.name.clone(), json!(one.value.as_deref().unwrap_or("*")));
    body.insert("headers".into(), Value::Object(fault.headers.iter().map(pair).collect()));
    change(at, "fault", Value::Object(body), args.how_long)
}

fn fault(args: &FaultStart) -> Result<Fault, Failure> {
    let usage = |problem: Problem| {
        let help = problem.help.map_or_else(String::new, |help| format!("; {help}"));
        Failure::new(Code::Usage, format!("{}{help}", problem.message))
    };
    let headers = args.headers.iter().map(|text| header(text)).collect::<Result<Vec<_>, _>>()?;
    let condition = |(name, value): (String, String)| ValueMatch {
        name: name.to_ascii_lowercase(),
        value: (value != "*").then_some(value),
    };
    Ok(Fault {
        delay: args.delay,
        abort: args.abort.as_deref().map(Abort::read).transpose().map_err(usage)?,
        share: units::share(&args.share).map_err(usage)?,
        headers: headers.into_iter().map(condition).collect(),
        until: now_s() + args.how_long.as_secs(),
    })
}

/// Asks for a change, and says what came of it.
fn change(at: &At, kind: &str, mut body: Value, how_long: Duration) -> Ended {
    body["for"] = json!(duration_text(how_long));
    if let Ok(user) = std::env::var("USER").or_else(|_| std::env::var("LOGNAME")) {
        body["by"] = json!(user);
    }
    let made = Admin::find(at)?.post(&format!("/overrides/{kind}"), &body)?;
    let (what, until) = (tables::text(&made["what"]), tables::text(&made["until"]));
    print(&format!("{what}\n  until {until}, override {}; `ringway ctl clear` ends it before\n", made["id"]))
}

fn end(at: &At, args: &Clear) -> Ended {
    let is_meant = |one: &Value| match (&args.service, &args.endpoint, &args.route) {
        _ if args.all => true,
        (_, _, Some(route)) => one["route"] == **route,
        (Some(service), Some(endpoint), _) => one["service"] == **service && one["endpoint"] == **endpoint,
        _ => false,
    };
    end_those(at, is_meant, "nothing of that is changed by hand; `ringway ctl drift` lists what is")
}

fn end_those(at: &At, is_meant: impl Fn(&Value) -> bool, none: &str) -> Ended {
    let admin = Admin::find(at)?;
    let all = admin.get("/overrides")?;
    let all = all["overrides"].as_array().cloned().unwrap_or_default();
    let mut ended = String::new();
    for one in all.iter().filter(|one| is_meant(one)) {
        admin.delete(&format!("/overrides/{}", one["id"]))?;
        ended.push_str(&format!("ended: {}\n", tables::text(&one["what"])));
    }
    if ended.is_empty() { Err(Failure::new(Code::Data, none)) } else { print(&ended) }
}

fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
