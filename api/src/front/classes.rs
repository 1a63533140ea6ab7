//! Which requests are counted together.

use axum::http::Method;
use shared::settings;

/// Requests that share a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// What has no class of its own.
    General,
    /// Guessing passwords and addresses.
    Login,
    /// Staying logged in.
    Refresh,
    /// Mail leaves the house.
    Send,
    /// Messages to one person each.
    Message,
    /// Asking again and again how far something is.
    Poll,
    /// Links in mails.
    Link,
    /// What providers post.
    Inbound,
    /// The documentation, and whether the process can work.
    Docs,
    /// Whether the process lives: balancers ask that more often than anybody would count.
    Uncounted,
}

impl Class {
    /// The class of a request; `route` is the pattern that it matched.
    #[must_use]
    pub fn of(method: &Method, route: Option<&str>) -> Self {
        let Some(route) = route else { return Self::General };
        let Some(path) = route.strip_prefix("/api/v1") else { return Self::outside(method, route) };
        match path {
            "/jobs/{id}"
            | "/jobs/{id}/events"
            | "/campaigns/{id}/progress"
            | "/campaigns/{id}/events"
            | "/imports/{id}"
            | "/messages/{id}" => Self::Poll,
            "/messages" if method == Method::POST => Self::Message,
            "/auth/refresh" => Self::Refresh,
            "/auth/login"
            | "/auth/register"
            | "/auth/verify-email"
            | "/auth/verify-email/resend"
            | "/auth/password"
            | "/auth/password/forgot"
            | "/auth/password/reset"
            | "/auth/invitations/accept" => Self::Login,
            "/campaigns/{id}/send" | "/campaigns/{id}/test" | "/campaigns/{id}/retry-failed" | "/campaigns/{id}/resend-unknown" => {
                Self::Send
            }
            "/inbound/{provider}/{source_id}" => Self::Inbound,
            "/health" => Self::Uncounted,
            "/ready" | "/openapi.json" => Self::Docs,
            _ => Self::General,
        }
    }

    fn outside(method: &Method, route: &str) -> Self {
        match route {
            "/health" => Self::Uncounted,
            "/ready" => Self::Docs,
            "/u/{token}" => Self::Link,
            // Their forms set passwords; looking at them does nothing.
            "/verify-email" | "/reset-password" | "/accept-invitation" if method == Method::POST => Self::Login,
            "/verify-email" | "/reset-password" | "/accept-invitation" => Self::Link,
            docs if docs.starts_with("/docs") => Self::Docs,
            _ => Self::General,
        }
    }

    /// As in Redis' keys and in the metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::General => "general",
            Self::Login => "login",
            Self::Refresh => "refresh",
            Self::Send => "send",
            Self::Message => "message",
            Self::Poll => "poll",
            Self::Link => "link",
            Self::Inbound => "inbound",
            Self::Docs => "docs",
            Self::Uncounted => "uncounted",
        }
    }

    /// Requests in a minute; 0: any number.
    #[must_use]
    pub const fn limit(self, limits: &settings::Limits) -> u32 {
        match self {
            Self::General => limits.general_per_minute,
            Self::Login => limits.login_per_minute,
            Self::Refresh => limits.refresh_per_minute,
            Self::Send => limits.send_per_minute,
            Self::Message => limits.message_per_minute,
            Self::Poll => limits.poll_per_minute,
            Self::Link => limits.link_per_minute,
            Self::Inbound => limits.inbound_per_minute,
            Self::Docs => limits.docs_per_minute,
            Self::Uncounted => 0,
        }
    }
}
