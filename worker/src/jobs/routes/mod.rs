//! Jobs of routes.

mod check_route;
