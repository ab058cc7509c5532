"use strict";
// The law's figure: lines, laws, a cursor, and the reading of laws.
charts.law = (place) => {
  place.textContent = "";
};
