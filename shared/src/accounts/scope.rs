//! The rule of ownership. A finder looks a row up by its id alone and then asks here, so that one lookup tells "not there" (404)
//! from "not yours" (403):
//!
//! ```
//! # use shared::{accounts::scope::Scope, error::{Error, Result}};
//! # use uuid::Uuid;
//! # struct List { id: Uuid, workspace_id: Uuid }
//! fn visible(scope: Scope, id: Uuid, row: Option<List>) -> Result<List> {
//!     let list = row.ok_or_else(|| Error::not_found("list", id))?;
//!     scope.may_read("list", id, list.workspace_id)?;
//!     Ok(list)
//! }
//! ```

use uuid::Uuid;

use crate::error::{Error, Result};

/// Where a caller acts, and whether it may look elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scope {
    /// The workspace that lists show and that new rows belong to.
    pub workspace_id: Uuid,
    /// Admins read every workspace's rows, and act in the one that they have chosen.
    pub admin: bool,
}

impl Scope {
    /// A client's view of `workspace_id`.
    #[must_use]
    pub fn client(workspace_id: Uuid) -> Self {
        Self { workspace_id, admin: false }
    }

    /// An admin who acts in `workspace_id`.
    #[must_use]
    pub fn admin(workspace_id: Uuid) -> Self {
        Self { workspace_id, admin: true }
    }

    /// Whether the caller may see `what`, which belongs to `owner`.
    ///
    /// # Errors
    /// [`Error::Forbidden`]: it belongs to another workspace.
    pub fn may_read(self, what: &'static str, id: Uuid, owner: Uuid) -> Result<()> {
        if self.admin { Ok(()) } else { self.may_change(what, id, owner) }
    }

    /// Whether the caller may change `what`, or tie its own rows to it. Admins too must have chosen the owner's workspace, so that
    /// a row never points into another workspace by mistake.
    ///
    /// # Errors
    /// [`Error::Forbidden`]: it belongs to another workspace.
    pub fn may_change(self, what: &'static str, id: Uuid, owner: Uuid) -> Result<()> {
        if self.workspace_id == owner {
            return Ok(());
        }
        let hint = if self.admin { "; name that one in X-Workspace-Id" } else { "" };
        Err(Error::Forbidden(format!("{what} {id} belongs to another workspace{hint}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_sees_its_own_workspace_alone() {
        let (mine, other, id) = (Uuid::now_v7(), Uuid::now_v7(), Uuid::now_v7());
        assert!(Scope::client(mine).may_read("list", id, mine).is_ok());
        assert!(matches!(Scope::client(mine).may_read("list", id, other), Err(Error::Forbidden(_))));
    }

    #[test]
    fn an_admin_reads_everything_and_changes_the_chosen_workspace() {
        let (chosen, other, id) = (Uuid::now_v7(), Uuid::now_v7(), Uuid::now_v7());
        assert!(Scope::admin(chosen).may_read("list", id, other).is_ok());
        assert!(Scope::admin(chosen).may_change("list", id, chosen).is_ok());
        let error = Scope::admin(chosen).may_change("list", id, other).expect_err("not chosen");
        assert_eq!(error.to_string(), format!("list {id} belongs to another workspace; name that one in X-Workspace-Id"));
    }
}
