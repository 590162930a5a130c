"""A package: its tests share fixtures of the scope "package", and none of others runs beside Playwright's loop."""
