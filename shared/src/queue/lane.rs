//! Lanes: the unit of concurrency, metrics and scaling. A job of one never waits for another.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// A lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Lane {
    /// Transactional and account mail.
    Critical,
    /// Campaigns.
    Bulk,
    /// Files on their way in.
    Imports,
    /// Matching of leads.
    Leads,
    /// Reports.
    Reports,
    /// Sheets and the like.
    Sync,
    /// Calls to the outside.
    Webhooks,
    /// Housekeeping.
    Maintenance,
}

impl Lane {
    /// All lanes.
    pub const ALL: [Self; 8] =
        [Self::Critical, Self::Bulk, Self::Imports, Self::Leads, Self::Reports, Self::Sync, Self::Webhooks, Self::Maintenance];

    /// As in the table, in keys and in labels.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::Bulk => "bulk",
            Self::Imports => "imports",
            Self::Leads => "leads",
            Self::Reports => "reports",
            Self::Sync => "sync",
            Self::Webhooks => "webhooks",
            Self::Maintenance => "maintenance",
        }
    }
}

impl fmt::Display for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Lane {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|lane| lane.name() == name.trim())
            .ok_or_else(|| format!("there is no lane {name:?}; the lanes are {}", Self::ALL.map(Self::name).join(", ")))
    }
}
