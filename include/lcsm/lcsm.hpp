// Everything public in one include.
#pragma once

#include "lcsm/model.h"
#include "lcsm/online_convolution.h"
#include "lcsm/options.h"
#include "lcsm/session.h"
#include "lcsm/status.h"
#include "lcsm/version.h"
