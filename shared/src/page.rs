//! Pages of lists: `?page=1&limit=20`, newest first.

use serde::Serialize;

use crate::error::{Error, Result};

/// Which part of a list: `page` counts from 1, `limit` is 1 to 100.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageRequest {
    /// Counted from 1.
    pub page: i64,
    /// Rows on a page.
    pub limit: i64,
}

impl PageRequest {
    /// Checks both numbers; absent ones are 1 and 20.
    ///
    /// # Errors
    /// [`Error::Invalid`] names the field and the value.
    pub fn new(page: Option<i64>, limit: Option<i64>) -> Result<Self> {
        let (page, limit) = (page.unwrap_or(1), limit.unwrap_or(20));
        if !(1..=1_000_000).contains(&page) {
            return Err(Error::invalid("page", format!("must be between 1 and 1000000, not {page}")));
        }
        if !(1..=100).contains(&limit) {
            return Err(Error::invalid("limit", format!("must be between 1 and 100, not {limit}")));
        }
        Ok(Self { page, limit })
    }

    /// Rows before this page.
    #[must_use]
    pub fn offset(self) -> i64 {
        (self.page - 1) * self.limit
    }
}

/// A page of `T` with its place in the list; serialises as DESIGN's list shape.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct Page<T> {
    /// The rows.
    pub data: Vec<T>,
    /// Where they stand.
    pub pagination: Pagination,
}

/// Where a page stands in its list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Pagination {
    /// Counted from 1.
    pub page: i64,
    /// Rows on a page.
    pub limit: i64,
    /// Rows in all.
    pub total: i64,
    /// Pages in all.
    pub total_pages: i64,
    /// Whether a page follows.
    pub has_next: bool,
    /// Whether a page comes before.
    pub has_prev: bool,
}

impl<T> Page<T> {
    /// The rows `data` of a list of `total`.
    #[must_use]
    pub fn new(request: PageRequest, total: i64, data: Vec<T>) -> Self {
        let total_pages = (total + request.limit - 1) / request.limit;
        let pagination = Pagination {
            page: request.page,
            limit: request.limit,
            total,
            total_pages,
            has_next: request.page < total_pages,
            has_prev: request.page > 1,
        };
        Self { data, pagination }
    }

    /// The same page with other rows.
    pub fn map<U>(self, into: impl FnMut(T) -> U) -> Page<U> {
        Page { data: self.data.into_iter().map(into).collect(), pagination: self.pagination }
    }
}
