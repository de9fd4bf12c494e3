//! Shows: the report a domain engineer reads.
