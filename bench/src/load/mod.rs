//! Measuring. [`place`] is where it happens: addresses, processes, versions. [`campaign`] measures one campaign, [`send`], [`dkim`], [`launch`] and
//! [`scale_out`] some of them; [`messages`] mails to one person each beside one; [`signing`] is what the processor could sign; [`import`] measures files, [`api`] requests (a closed loop by wrk, an [`open_loop`] by us), [`sink`] the sink
//! itself, [`peer`] what users would otherwise take. [`cpu`] and [`memory`] are what processes spent, [`machine`] where, [`figures`] medians
//! and reports, [`tool`] programs of others.

pub mod api;
pub mod campaign;
pub mod cpu;
pub mod dkim;
pub mod figures;
pub mod import;
pub mod launch;
pub mod machine;
pub mod memory;
pub mod messages;
pub mod open_loop;
pub mod peer;
pub mod place;
pub mod scale_out;
pub mod send;
pub mod signing;
pub mod sink;
pub mod tool;
