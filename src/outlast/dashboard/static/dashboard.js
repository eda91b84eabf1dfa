// What every page gets when scripts run. Each module does one thing.

import "./live.js";
import "./keys.js";
import "./forms.js";
import "./timeline.js";
