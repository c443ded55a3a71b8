"""A page in the browser that shows a running cloud or device."""
