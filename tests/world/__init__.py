"""What tests share: drawn images, small encoders, caches, tables, configs and finished runs."""
