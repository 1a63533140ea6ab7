//! What a member of a workspace may do there.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::error::Error;

/// Each may do what those before it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Reads.
    Viewer,
    /// Writes contacts, lists, imports, campaigns and suppressions, and sends.
    Editor,
    /// Manages members and the workspace.
    Owner,
}

impl Level {
    /// As in the table.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Editor => "editor",
            Self::Owner => "owner",
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Level {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        let all = [Self::Viewer, Self::Editor, Self::Owner];
        all.into_iter().find(|level| level.name() == name).ok_or_else(|| Error::internal(format!("a user has the level {name:?}")))
    }
}

impl TryFrom<String> for Level {
    type Error = Error;

    fn try_from(name: String) -> Result<Self, Error> {
        name.parse()
    }
}
