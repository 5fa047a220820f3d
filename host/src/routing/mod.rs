//! Index from event type to subscriptions.
