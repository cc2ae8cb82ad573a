//! An explanation as lines to read and as JSON.

use std::fmt;

use serde_json::{Value, json};

use super::{Contender, EndpointShare, Explanation, Outcome, ServiceShare};
use crate::snapshot::HeaderPlan;

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.request)?;
        writeln!(f, "  listener  {}: {}", self.listener, self.listener_why)?;
        self.speaks.iter().try_for_each(|told| writeln!(f, "    - {told}"))?;
        if !self.path.is_empty() {
            writeln!(f, "  path      {}", self.path)?;
        }
        if let Some(route) = &self.route {
            contender(f, "  route     ", route)?;
        }
        match &self.outcome {
            Outcome::Forward | Outcome::Carry => {}
            Outcome::Requests => {
                writeln!(f, "  requests  come by it: explain one, with http:// or https://")?
            }
            Outcome::Close { reason } => writeln!(f, "  closed    {reason}")?,
            Outcome::Respond { status } => writeln!(f, "  answer    {status} by the route itself")?,
            Outcome::Redirect { status, location } => {
                writeln!(f, "  answer    {status}, Location: {location}")?
            }
            Outcome::Refuse { status, reason } => writeln!(f, "  answer    {status}: {reason}")?,
        }
        section(f, "runners-up, in order", &self.runners_up)?;
        section(f, "closest", &self.closest)?;
        if !self.policies.is_empty() {
            writeln!(f, "  policies, in order")?;
        }
        for (place, policy) in self.policies.iter().enumerate() {
            writeln!(f, "    {}. {policy}", place + 1)?;
        }
        self.services.iter().try_for_each(|service| share(f, service))
    }
}

fn section(f: &mut fmt::Formatter<'_>, title: &str, contenders: &[Contender]) -> fmt::Result {
    if !contenders.is_empty() {
        writeln!(f, "  {title}")?;
    }
    contenders.iter().try_for_each(|one| contender(f, "    - ", one))
}

fn contender(f: &mut fmt::Formatter<'_>, lead: &str, contender: &Contender) -> fmt::Result {
    writeln!(f, "{lead}{} ({}): {}", contender.name, contender.pattern, contender.why)
}

fn share(f: &mut fmt::Formatter<'_>, service: &ServiceShare) -> fmt::Result {
    let percent = (service.percent * 100.0).round() / 100.0;
    writeln!(f, "  service   {} ({percent}%), balance {}", service.name, service.balance)?;
    for endpoint in &service.endpoints {
        write!(f, "    - {}", endpoint.address)?;
        if endpoint.weight != 1 {
            write!(f, ", weight {}", endpoint.weight)?;
        }
        if endpoint.level > 0 {
            write!(f, ", level {}", endpoint.level)?;
        }
        if let Some(zone) = &endpoint.zone {
            write!(f, ", zone {zone}")?;
        }
        writeln!(f, "{}", if endpoint.is_near { " (this one)" } else { "" })?;
    }
    service.picks.iter().try_for_each(|told| writeln!(f, "    {told}"))?;
    writeln!(f, "    speaks: {}", service.speaks)?;
    for (title, told) in [("timeouts", &service.timeouts), ("limits", &service.limits)] {
        if !told.is_empty() {
            writeln!(f, "    {title}: {told}")?;
        }
    }
    service.judged.iter().try_for_each(|line| writeln!(f, "    {line}"))
}

impl Explanation {
    /// The same for programs. Field names are part of the command's interface.
    pub fn to_json(&self) -> Value {
        let contender = |c: &Contender| json!({ "name": c.name, "pattern": c.pattern, "why": c.why });
        let contenders = |all: &[Contender]| all.iter().map(contender).collect::<Vec<_>>();
        let endpoint = |e: &EndpointShare| json!({ "address": e.address, "weight": e.weight, "level": e.level, "zone": e.zone, "near": e.is_near });
        let service = |s: &ServiceShare| {
            json!({
                "name": s.name,
                "percent": s.percent,
                "balance": s.balance,
                "endpoints": s.endpoints.iter().map(endpoint).collect::<Vec<_>>(),
                "picks": s.picks,
                "speaks": s.speaks,
                "timeouts": s.timeouts,
                "limits": s.limits,
                "judged": s.judged,
            })
        };
        let outcome = match &self.outcome {
            Outcome::Forward => json!({ "kind": "forward" }),
            Outcome::Carry => json!({ "kind": "carry" }),
            Outcome::Requests => json!({ "kind": "requests" }),
            Outcome::Close { reason } => json!({ "kind": "close", "reason": reason }),
            Outcome::Respond { status } => json!({ "kind": "respond", "status": status }),
            Outcome::Redirect { status, location } => {
                json!({ "kind": "redirect", "status": status, "location": location })
            }
            Outcome::Refuse { status, reason } => {
                json!({ "kind": "refuse", "status": status, "reason": reason })
            }
        };
        json!({
            "request": self.request,
            "listener": { "name": self.listener, "why": self.listener_why, "speaks": self.speaks },
            "path": self.path,
            "outcome": outcome,
            "route": self.route.as_ref().map(contender),
            "runners_up": contenders(&self.runners_up),
            "closest": contenders(&self.closest),
            "policies": self.policies,
            "services": self.services.iter().map(service).collect::<Vec<_>>(),
        })
    }
}

/// `request headers: drops a, b; writes x: y`, nothing if there is nothing to do.
pub(super) fn header_ops(title: &str, plan: &HeaderPlan) -> Option<String> {
    let dropped: Vec<_> = plan.dropped().map(String::from_utf8_lossy).collect();
    let lines = String::from_utf8_lossy(plan.lines());
    let written: Vec<_> = lines.lines().map(redacted).collect();
    let drops = (!dropped.is_empty()).then(|| format!("drops {}", dropped.join(", ")));
    let writes = (!written.is_empty()).then(|| format!("writes {}", written.join(", ")));
    let parts: Vec<_> = drops.into_iter().chain(writes).collect();
    (!parts.is_empty()).then(|| format!("{title}: {}", parts.join("; ")))
}

/// Values of fields that customarily hold credentials are not told.
fn redacted(line: &str) -> String {
    const SECRET: [&str; 7] = ["auth", "cookie", "token", "secret", "key", "password", "credential"];
    let name = line.split(':').next().unwrap_or_default().to_ascii_lowercase();
    match SECRET.iter().any(|word| name.contains(word)) {
        true => format!("{name}: (redacted)"),
        false => line.to_owned(),
    }
}

/// As durations are written: the largest unit that fits whole.
pub(super) fn duration(ms: u64) -> String {
    match ms {
        0 => "0s".into(),
        ms if ms % 3_600_000 == 0 => format!("{}h", ms / 3_600_000),
        ms if ms % 60_000 == 0 => format!("{}m", ms / 60_000),
        ms if ms % 1000 == 0 => format!("{}s", ms / 1000),
        ms => format!("{ms}ms"),
    }
}

/// As shares are written, of parts per million.
pub(super) fn percent(ppm: u32) -> String {
    format!("{}%", f64::from(ppm) / 10_000.0)
}

/// As sizes are written.
pub(super) fn bytes(count: u64) -> String {
    match count {
        0 => "0B".into(),
        n if n % (1 << 30) == 0 => format!("{}GiB", n >> 30),
        n if n % (1 << 20) == 0 => format!("{}MiB", n >> 20),
        n if n % (1 << 10) == 0 => format!("{}KiB", n >> 10),
        n => format!("{n}B"),
    }
}
