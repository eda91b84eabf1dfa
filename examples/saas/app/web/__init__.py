"""The app as people see it: pages, forms, and the doors for cron and webhooks."""
