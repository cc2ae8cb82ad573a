-- Requests each of the first N routes in turn; all paths are of one length and look alike.
local made, at = {}, 0

function init(arguments)
    for route = 0, tonumber(arguments[1]) - 1 do
        made[#made + 1] = wrk.format("GET", string.format("/api/v1/r%05d/42", route))
    end
end

function request()
    at = at % #made + 1
    return made[at]
end
