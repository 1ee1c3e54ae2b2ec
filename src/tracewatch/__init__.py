"""tracewatch notices by itself what is abnormal in your application's LLM calls."""

__version__ = "0.1.0"
